"""Brings a run forward, the way Argo's controller does: again and again from the root.

Every call of ``operate`` walks the tree of templates from the entrypoint, makes the nodes whose
turn has come, and finishes those whose children are done. It starts pods but waits for nothing,
so that it can be called after every event, and after a restart of the engine.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from argotune.workflows.engine.controller import attempts, dag, limits, steps
from argotune.workflows.engine.controller.expand import Turn
from argotune.workflows.engine.controller.hooks import run_workflow_hook
from argotune.workflows.engine.controller.launch import WORKFLOW_DEADLINE, PodRequest, launch
from argotune.workflows.engine.controller.locks import LockTable, lock_names, waiting_message
from argotune.workflows.engine.errors import ExpressionError, PodError, UnresolvedError
from argotune.workflows.engine.language.durations import parse_duration_seconds
from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.language.substitute import Scope
from argotune.workflows.engine.model import JsonObject, Node, NodeType, Phase
from argotune.workflows.engine.pods.factory import PodFactory
from argotune.workflows.engine.pods.supervise import PodEnded
from argotune.workflows.engine.state.documents import Catalog, TemplateBase
from argotune.workflows.engine.state.place import Execution, TemplateError
from argotune.workflows.engine.state.run_state import Caller, RunState
from argotune.workflows.engine.state.templates import Prepared, prepare
from argotune.workflows.engine.state.variables import runtime_variables

_LOCK_POLL_SECONDS = 0.25


@dataclass(slots=True)
class Operator:
    """One run of one workflow: what it executes, and the state that it changes."""

    workflow: JsonObject
    spec: JsonObject
    base: TemplateBase
    catalog: Catalog
    variables: Scope
    state: RunState
    locks: LockTable
    pods: PodFactory
    start_pod: Callable[[PodRequest], None]
    wake_at: Callable[[float], None]
    """Called with a time at which ``operate`` should be called again."""
    shutdown: str = ""
    """``Stop`` once the run is being stopped, ``Terminate`` where exit handlers do not count."""
    suspended: bool = False
    ending: Phase | None = None
    """What ``workflow.status`` is for exit handlers, once the entrypoint is through."""
    started_pods: set[str] = field(default_factory=set)
    """The nodes whose pods were started and did not end."""
    prepared: dict[str, Prepared] = field(default_factory=dict)
    """The templates of the nodes executed so far, by node id."""
    turns: dict[tuple[str, str], list[Turn]] = field(default_factory=dict)
    """What steps and tasks became when their turn came, by node id and step name."""

    @property
    def deadline(self) -> float | None:
        """When the workflow's activeDeadlineSeconds are over."""
        seconds = self.spec.get("activeDeadlineSeconds")
        if seconds is None or self.state.started_at is None:
            return None
        return int(self.state.started_at) + float(any_string(seconds))

    @property
    def namespace(self) -> str:
        """The workflow's namespace."""
        return str(self.workflow["metadata"]["namespace"])

    def scope(self, *more: Mapping[str, str]) -> Scope:
        """Every variable of the workflow, with ``more``."""
        phase = self.ending or self.state.phase
        return self.variables.merged(runtime_variables(self.state, phase), *more)

    def operate(self) -> None:
        """Does all that can be done now; the state's phase says whether the run is over."""
        if self.state.phase.is_fulfilled or not self._begun():
            return
        self._fail_what_waits_too_long()
        call = Execution(
            self.state.workflow_name,
            Caller(template_name=self.spec.get("entrypoint") or ""),
            self.base,
            (self.spec.get("arguments") or {}).get("parameters") or [],
        )
        try:
            root = self.execute(call)
        except TemplateError as error:
            self.finish(Phase.ERROR, f"error in entry template execution: {error}")
            return
        if root is not None and root.phase.is_fulfilled:
            self._end(root)

    def finish(self, phase: Phase, message: str) -> None:
        """Ends the run."""
        self.state.phase = phase
        self.state.message = message
        self.state.finished_at = time.time()
        self.locks.release_all()

    def _begun(self) -> bool:
        """Whether the run has begun: not while it waits for its lock or is suspended."""
        names = lock_names(
            self.spec.get("synchronization"), self.namespace, self.catalog.config_maps
        )
        if (taken := self.locks.acquire("", names)) is not None:
            self.state.message = waiting_message(taken)
            self.wake_at(time.time() + _LOCK_POLL_SECONDS)
            if self.shutdown:
                self.finish(Phase.FAILED, f"Stopped with strategy '{self.shutdown}'")
            return False
        if self.state.started_at is None:
            self.state.started_at = time.time()
        if self.state.phase is Phase.PENDING:
            self.state.phase, self.state.message = Phase.RUNNING, ""
        if (deadline := self.deadline) is not None:
            self.wake_at(deadline)
        return not self.suspended or bool(self.shutdown)

    def _fail_what_waits_too_long(self) -> None:
        """Fails what has no process yet and should have ended; running pods end by their own."""
        deadline = self.deadline
        overdue = deadline is not None and time.time() >= deadline
        if not overdue and not self.shutdown:
            return
        stopped = f"Stopped with strategy '{self.shutdown}'"
        for node in list(self.state.nodes.values()):
            waits = (
                node.type is NodeType.SUSPEND
                or bool(node.waiting_for_lock)
                or (node.type is NodeType.POD and node.id not in self.started_pods)
            )
            if waits and not node.phase.is_fulfilled and not self.state.is_exit_handler(node):
                message = stopped if self.shutdown else WORKFLOW_DEADLINE
                self.state.mark(node, Phase.FAILED, message)

    def _end(self, root: Node) -> None:
        """Runs the exit handler, then gives the workflow its root's phase."""
        if any(not self.state.is_exit_handler(self.state.nodes[pod]) for pod in self.started_pods):
            return
        phase = root.phase if root.phase.is_failed else Phase.SUCCEEDED
        try:
            handler = run_workflow_hook(self, phase)
        except TemplateError as error:
            self.finish(Phase.ERROR, f"error in exit template execution : {error}")
            return
        if handler is not None and not handler.phase.is_fulfilled:
            return
        message = root.message
        if phase.is_failed and self.shutdown:
            message = f"Stopped with strategy '{self.shutdown}'"
        elif handler is not None and handler.phase.is_failed and not phase.is_failed:
            phase, message = handler.phase, handler.message
        self.finish(phase, message)

    def execute(self, call: Execution) -> Node | None:
        """Executes a template and returns its node.

        None means that it cannot start yet (parallelism); TemplateError that it cannot be
        executed, its node being marked Error.
        """
        node = self.state.get(call.name)
        node_id = self.state.id_of(call.name)
        if node is not None and node.phase.is_fulfilled:
            self.locks.release(node_id)
            return node
        try:
            prepared = self._prepare(call)
            if not limits.may_start(self, call, prepared):
                return self.state.get(call.name)
            if not limits.take_locks(self, call, prepared):
                return self.state.get(call.name)
            if self.retry_strategy(prepared) is not None:
                node = attempts.advance(self, call, prepared)
            else:
                node = self.dispatch(call, prepared, {})
        except (ExpressionError, PodError, UnresolvedError) as error:
            self.mark_errored(call, str(error))
            raise TemplateError(str(error)) from error
        if node.phase.is_fulfilled:
            self.locks.release(node_id)
        return node

    def mark_errored(self, call: Execution, message: str) -> Node:
        """Marks a call's node Error, making it where it is not there."""
        node = self.state.get(call.name)
        if node is None:
            node = self.add(call, NodeType.SKIPPED, Phase.ERROR, message=message)
        else:
            self.state.mark(node, Phase.ERROR, message)
        self.locks.release(node.id)
        return node

    def add(
        self,
        call: Execution,
        type_: NodeType,
        phase: Phase,
        *,
        message: str = "",
        inputs: JsonObject | None = None,
    ) -> Node:
        """Makes a call's node."""
        return self.state.add(
            call.name,
            type_,
            phase,
            caller=call.caller,
            scope=call.base.scope,
            boundary_id=call.place.boundary_id,
            message=message,
            inputs=inputs,
            hooked=call.place.hooked,
            retried=call.place.retried,
        )

    def _prepare(self, call: Execution) -> Prepared:
        node_id = self.state.id_of(call.name)
        if node_id not in self.prepared:
            self.prepared[node_id] = prepare(
                call, self.scope(), self.catalog, self.spec.get("templateDefaults")
            )
        return self.prepared[node_id]

    def retry_strategy(self, prepared: Prepared) -> JsonObject | None:
        """The template's retryStrategy, else the workflow's."""
        return prepared.settings.get("retryStrategy") or self.spec.get("retryStrategy")

    def dispatch(self, call: Execution, prepared: Prepared, more: Mapping[str, str]) -> Node:
        """Makes the node of the template's kind if it is not there, and brings it forward."""
        node = self.state.get(call.name)
        if node is None:
            is_group = prepared.kind in ("dag", "steps")
            phase = Phase.RUNNING if is_group else Phase.PENDING
            node = self.add(call, prepared.node_type, phase, inputs=prepared.inputs)
        match prepared.kind:
            case "dag":
                dag.advance(self, node, prepared, call.place.on_exit)
            case "steps":
                steps.advance(self, node, prepared, call.place.on_exit)
            case "suspend":
                self._suspend(node, prepared)
            case _:
                launch(self, node, prepared, call.place, more)
        return node

    def _suspend(self, node: Node, prepared: Prepared) -> None:
        duration = (prepared.settings.get("suspend") or {}).get("duration")
        self.state.mark(node, Phase.RUNNING)
        if not duration:
            return
        until = node.started_at + parse_duration_seconds(duration)
        if time.time() >= until:
            self.state.mark(node, Phase.SUCCEEDED)
        else:
            self.wake_at(until)

    def resume_suspended(self) -> None:
        """Ends every suspension, as ``argo resume`` does."""
        self.suspended = False
        for node in self.state.nodes.values():
            if node.type is NodeType.SUSPEND and node.phase is Phase.RUNNING:
                self.state.mark(node, Phase.SUCCEEDED)

    def pod_ended(self, ended: PodEnded, stopped_because: str) -> None:
        """Gives a pod's node its outputs and phase; a reason for stopping it makes it Failed."""
        node = self.state.nodes[ended.node_id]
        self.started_pods.discard(node.id)
        node.outputs = ended.outputs or None
        self.state.add_global_outputs(node.outputs)
        if stopped_because:
            self.state.mark(node, Phase.FAILED, stopped_because)
        elif ended.error:
            self.state.mark(node, Phase.ERROR, ended.error)
        elif ended.exit_code != 0:
            self.state.mark(node, Phase.FAILED, ended.message)
        else:
            self.state.mark(node, Phase.SUCCEEDED, "")
