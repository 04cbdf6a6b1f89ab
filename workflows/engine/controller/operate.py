"""The operator: advances a run from its root again and again, as Argo's controller does.

Each call of `operate` walks the templates from the entrypoint, adds the nodes whose turn it is, and
ends those whose children have ended. It starts pods and waits for nothing, so that it can be called
after every event and after a restart of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from argotune.workflows.engine.controller import attempts, dag, limits, steps, suspend
from argotune.workflows.engine.controller.context import RunContext
from argotune.workflows.engine.controller.hooks import run_workflow_hook
from argotune.workflows.engine.controller.launch import WORKFLOW_DEADLINE, launch
from argotune.workflows.engine.controller.locks import (
    LOCK_POLL_SECONDS,
    lock_names,
    waiting_message,
)
from argotune.workflows.engine.errors import (
    ExpressionError,
    PodError,
    TemplateError,
    UnresolvedError,
)
from argotune.workflows.engine.model import Node, NodeType, Phase
from argotune.workflows.engine.pods.supervise import PodEnded
from argotune.workflows.engine.state.run_state import Caller
from argotune.workflows.engine.state.templates import Prepared, TemplateCall, prepare

_DEEPEST = 100
"""Depth at which Argo executes no further template; its controller's default."""
_TOO_DEEP = "Maximum recursion depth exceeded"


@dataclass(slots=True)
class Operator:
    """Advances one run."""

    run: RunContext
    _depth: int = 0
    """Templates that are being executed, each called by the one before."""

    def operate(self) -> None:
        """Do all that can be done now; the state's phase then says whether the run has ended."""
        run = self.run
        if run.state.phase.is_fulfilled or not self._begin():
            return
        self._fail_waiting_nodes()
        call = TemplateCall(
            run.state.workflow_name,
            Caller(template_name=run.spec.get("entrypoint") or ""),
            run.base,
            (run.spec.get("arguments") or {}).get("parameters") or [],
        )
        try:
            root = self.execute(call)
        except TemplateError as error:
            self._finish(Phase.ERROR, f"error in entry template execution: {error}")
            return
        if root is not None and root.phase.is_fulfilled:
            self._end(root)

    def _finish(self, phase: Phase, message: str) -> None:
        state = self.run.state
        state.phase, state.message, state.finished_at = phase, message, state.now()
        self.run.locks.release_all()

    def _begin(self) -> bool:
        """Begin the run; return False while it waits for its lock or is suspended."""
        run, state = self.run, self.run.state
        names = lock_names(run.spec.get("synchronization"), run.namespace, run.catalog.config_maps)
        if (taken := run.locks.acquire("", names)) is not None:
            state.message = waiting_message(taken)
            run.wake_at(state.now() + LOCK_POLL_SECONDS)
            if run.shutdown:
                self._finish(Phase.FAILED, run.stop_message)
            return False
        if state.started_at is None:
            state.started_at = state.now()
        if state.phase is Phase.PENDING:
            state.phase, state.message = Phase.RUNNING, ""
        if (deadline := run.deadline) is not None:
            run.wake_at(deadline)
        return not run.suspended or bool(run.shutdown)

    def _fail_waiting_nodes(self) -> None:
        """Fail nodes without a process once the run is being stopped or its deadline has passed.

        Running pods have a deadline of their own.
        """
        run, state = self.run, self.run.state
        if not run.shutdown and not run.is_overdue:
            return
        for node in list(state.nodes.values()):
            waits = (
                node.type is NodeType.SUSPEND
                or bool(node.waiting_for_lock)
                or (node.type is NodeType.POD and node.id not in run.started_pods)
            )
            if waits and not node.phase.is_fulfilled and not state.is_exit_handler(node):
                message = run.stop_message if run.shutdown else WORKFLOW_DEADLINE
                state.mark(node, Phase.FAILED, message)

    def _end(self, root: Node) -> None:
        """Run the exit handler, then give the workflow the phase of its root."""
        run, state = self.run, self.run.state
        if any(not state.is_exit_handler(state.nodes[pod]) for pod in run.started_pods):
            return
        phase = root.phase if root.phase.is_failed else Phase.SUCCEEDED
        try:
            handler = run_workflow_hook(self, phase)
        except TemplateError as error:
            self._finish(Phase.ERROR, f"error in exit template execution : {error}")
            return
        if handler is not None and not handler.phase.is_fulfilled:
            return
        message = root.message
        if phase.is_failed and run.shutdown:
            message = run.stop_message
        elif handler is not None and handler.phase.is_failed and not phase.is_failed:
            phase, message = handler.phase, handler.message
        self._finish(phase, message)

    def execute(self, call: TemplateCall) -> Node | None:
        """Execute a template and return its node, or None if limits do not let it start yet.

        Raises TemplateError if it cannot be executed; its node is then marked Error.
        """
        run, state = self.run, self.run.state
        node = state.get(call.name)
        node_id = state.id_of(call.name)
        if node is not None and node.phase.is_fulfilled:
            run.locks.release(node_id)
            return node
        self._depth += 1
        try:
            if self._depth >= _DEEPEST:
                run.mark_errored(call, _TOO_DEEP)
                raise TemplateError(_TOO_DEEP)
            prepared = self._prepare(call)
            if not limits.may_start(run, call, prepared):
                return state.get(call.name)
            if not limits.take_locks(run, call, prepared):
                return state.get(call.name)
            if run.retry_strategy(prepared) is not None:
                node = attempts.advance(self, call, prepared)
            else:
                node = self.dispatch(call, prepared, {})
        except (ExpressionError, PodError, UnresolvedError) as error:
            run.mark_errored(call, str(error))
            raise TemplateError(str(error)) from error
        finally:
            self._depth -= 1
        state.show_as(node, prepared.display_name)
        if node.phase.is_fulfilled:
            run.locks.release(node_id)
        return node

    def _prepare(self, call: TemplateCall) -> Prepared:
        run = self.run
        node_id = run.state.id_of(call.name)
        if node_id not in run.prepared:
            run.prepared[node_id] = prepare(
                call, run.scope(), run.catalog, run.spec.get("templateDefaults")
            )
        return run.prepared[node_id]

    def dispatch(self, call: TemplateCall, prepared: Prepared, more: Mapping[str, str]) -> Node:
        """Advance the node of a prepared template, or add it first, and return it.

        `more` are the variables of this try.
        """
        node = self.run.state.get(call.name)
        if node is None:
            is_group = prepared.kind in ("dag", "steps")
            phase = Phase.RUNNING if is_group else Phase.PENDING
            node = self.run.add_node(call, prepared.node_type, phase, inputs=prepared.inputs)
        prepared = replace(prepared, variables={**prepared.variables, **more})
        match prepared.kind:
            case "dag":
                dag.advance(self, node, prepared, call.place.on_exit)
            case "steps":
                steps.advance(self, node, prepared, call.place.on_exit)
            case "suspend":
                suspend.advance(self.run, node, prepared)
            case _:
                launch(self.run, node, prepared, call.place)
        return node

    def end_pod(self, ended: PodEnded, stopped_because: str) -> None:
        """Give a pod's node its outputs and phase; with `stopped_because`, it is Failed."""
        state = self.run.state
        node = state.nodes[ended.node_id]
        self.run.started_pods.discard(node.id)
        node.outputs = ended.outputs or None
        state.add_global_outputs(node.outputs)
        if stopped_because:
            state.mark(node, Phase.FAILED, stopped_because)
        elif ended.error:
            state.mark(node, Phase.ERROR, ended.error)
        elif ended.exit_code != 0:
            state.mark(node, Phase.FAILED, ended.message)
        else:
            state.mark(node, Phase.SUCCEEDED, "")
