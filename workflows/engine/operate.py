"""Brings a run forward, the way Argo's controller does: again and again from the root.

Every call of ``operate`` walks the tree of templates from the entrypoint, makes the nodes whose
turn has come, and finishes those whose children are done. It starts pods but waits for nothing,
so that it can be called after every event, and after a restart of the engine.
"""

import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import yaml

from workflows.engine import dag, steps
from workflows.engine.documents import Catalog, TemplateBase
from workflows.engine.durations import parse_duration_seconds
from workflows.engine.errors import ExpressionError, PodError, UnresolvedError
from workflows.engine.expand import Turn
from workflows.engine.expr import evaluate_bool
from workflows.engine.govalues import any_string
from workflows.engine.locks import LockTable, lock_names, waiting_message
from workflows.engine.model import JsonObject, Node, NodeType, Phase, pod_name
from workflows.engine.place import Place, TemplateError
from workflows.engine.pods import Pod, PodFactory, PodIdentity
from workflows.engine.retry import Retry, Wait, attempt_scope, decide
from workflows.engine.state import Caller, RunState
from workflows.engine.substitute import Scope, substitute
from workflows.engine.supervise import PodEnded
from workflows.engine.templates import (
    Prepared,
    find,
    input_parameters,
    input_variables,
    own_part,
    settings,
    with_defaults,
)
from workflows.engine.variables import runtime_variables, template_of

_NODE_TYPES = {
    "container": NodeType.POD,
    "script": NodeType.POD,
    "dag": NodeType.DAG,
    "steps": NodeType.STEPS,
    "suspend": NodeType.SUSPEND,
}
_LOCK_POLL_SECONDS = 0.25
_FAIL_FAST = "template has failed or errored children and failFast enabled"
_DEADLINE = "Step exceeded its deadline"
_POD_DEADLINE = "Pod was active on the node longer than the specified deadline"


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod to start, and until when it may run."""

    pod: Pod
    deadline: float | None
    deadline_message: str


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
    """``Stop`` once the run is being stopped."""
    suspended: bool = False
    ending: Phase | None = None
    """What ``workflow.status`` is for exit handlers, once the entrypoint is through."""
    started_pods: set[str] = field(default_factory=set)
    turns: dict[tuple[str, str], list[Turn]] = field(default_factory=dict)
    """What steps and tasks became when their turn came, by node id and step name."""
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _results_asked: dict[tuple[str, str], bool] = field(default_factory=dict)

    @property
    def deadline(self) -> float | None:
        """When the workflow's activeDeadlineSeconds are over."""
        seconds = self.spec.get("activeDeadlineSeconds")
        if seconds is None or self.state.started_at is None:
            return None
        return int(self.state.started_at) + float(any_string(seconds))

    def scope(self, *more: Mapping[str, str]) -> Scope:
        """Every variable of the workflow, with ``more``."""
        phase = self.ending or self.state.phase
        return self.variables.merged(runtime_variables(self.state, phase), *more)

    def operate(self) -> None:
        """Does all that can be done now; the state's phase says whether the run is over."""
        if self.state.phase.is_fulfilled or not self._begun():
            return
        self._enforce_deadline()
        try:
            root = self.execute(
                self.state.workflow_name,
                Caller(template_name=self.spec.get("entrypoint") or ""),
                self.base,
                self._arguments(),
                Place(),
            )
        except TemplateError as error:
            self.finish(Phase.ERROR, f"error in entry template execution: {error}")
            return
        if root is None or not root.phase.is_fulfilled or self._has_active_pods():
            return
        self._end(root)

    def finish(self, phase: Phase, message: str) -> None:
        """Ends the run."""
        self.state.phase = phase
        self.state.message = message
        self.state.finished_at = time.time()
        self.locks.release_all()

    def _begun(self) -> bool:
        """Whether the run has begun: not while it waits for its lock or is suspended."""
        synchronization = self.spec.get("synchronization")
        if synchronization:
            names = lock_names(synchronization, self._namespace, self.catalog.config_maps)
            taken = self.locks.acquire("", names)
            if taken is not None:
                self.state.message = waiting_message(taken)
                self.wake_at(time.time() + _LOCK_POLL_SECONDS)
                return self._stopped_before_start()
        if self.state.started_at is None:
            self.state.started_at = time.time()
        if self.state.phase is Phase.PENDING:
            self.state.phase, self.state.message = Phase.RUNNING, ""
        if self.suspended and not self.shutdown:
            return False
        if (deadline := self.deadline) is not None:
            self.wake_at(deadline)
        return True

    def _stopped_before_start(self) -> bool:
        if self.shutdown:
            self.finish(Phase.FAILED, f"Stopped with strategy '{self.shutdown}'")
        return False

    def _arguments(self) -> list[JsonObject]:
        return (self.spec.get("arguments") or {}).get("parameters") or []

    @property
    def _namespace(self) -> str:
        return str(self.workflow["metadata"]["namespace"])

    def _has_active_pods(self) -> bool:
        return any(
            node.type is NodeType.POD and not node.phase.is_fulfilled
            for node in self.state.nodes.values()
        )

    def _enforce_deadline(self) -> None:
        """Fails what has no process yet and should have ended; running pods end by their own."""
        deadline = self.deadline
        overdue = deadline is not None and time.time() >= deadline
        for node in list(self.state.nodes.values()):
            if node.phase.is_fulfilled or self.state.is_exit_handler(node):
                continue
            waits = node.type is NodeType.SUSPEND or (
                node.type is NodeType.POD and node.id not in self.started_pods
            )
            if waits and self.shutdown:
                self.state.mark(node, Phase.FAILED, f"Stopped with strategy '{self.shutdown}'")
            elif waits and overdue:
                self.state.mark(node, Phase.FAILED, _DEADLINE)

    def _end(self, root: Node) -> None:
        """Runs the exit handler, then gives the workflow its root's phase."""
        phase = Phase.SUCCEEDED if not root.phase.is_failed else root.phase
        handler = self._exit_handler(phase)
        if handler is not None and not handler.phase.is_fulfilled:
            return
        if self.state.phase.is_fulfilled:
            return
        message = root.message
        if root.phase.is_failed and self.shutdown:
            message = f"Stopped with strategy '{self.shutdown}'"
        if phase is Phase.SUCCEEDED and handler is not None and handler.phase.is_failed:
            phase, message = handler.phase, handler.message
        self.finish(phase, message if phase.is_failed else "")

    def _exit_handler(self, phase: Phase) -> Node | None:
        hook = exit_hook(self.spec, self.spec.get("arguments"))
        if hook is None or self.shutdown == "Terminate":
            return None
        self.ending = phase
        try:
            return self.execute(
                f"{self.state.workflow_name}.onExit",
                Caller.of(hook, ""),
                self.base,
                self._hook_arguments(hook, {}),
                Place(hooked=True, on_exit=True),
            )
        except TemplateError as error:
            self.finish(Phase.ERROR, f"error in exit template execution : {error}")
            return None

    def _hook_arguments(self, hook: JsonObject, more: Mapping[str, str]) -> list[JsonObject]:
        parameters = (hook.get("arguments") or {}).get("parameters") or []
        found: list[JsonObject] = substitute(parameters, self.scope(more))
        return found

    def execute(
        self,
        name: str,
        caller: Caller,
        base: TemplateBase,
        arguments: list[JsonObject],
        place: Place,
    ) -> Node | None:
        """Executes a template as the node ``name`` and returns the node.

        None means that it cannot start yet (parallelism); TemplateError that it cannot be
        executed, its node being marked Error.
        """
        node = self.state.get(name)
        if node is not None and node.phase.is_fulfilled:
            self.locks.release(node.id)
            return node
        try:
            prepared = self._prepare(name, caller, base, arguments, place)
            if not self._may_start(prepared, node, place):
                return node
            if not self._locked(name, prepared, caller, base, place):
                return self.state.get(name)
            if self._retry_strategy(prepared) is not None:
                node = self._with_retries(name, prepared, caller, base, place)
            else:
                node = self._dispatch(name, prepared, caller, base, place, {})
        except (ExpressionError, PodError, UnresolvedError) as error:
            raise self._errored(name, caller, base, place, str(error)) from error
        if node is not None and node.phase.is_fulfilled:
            self.locks.release(self.state.id_of(name))
        return node

    def _errored(
        self, name: str, caller: Caller, base: TemplateBase, place: Place, message: str
    ) -> TemplateError:
        node = self.state.get(name)
        if node is not None:
            self.state.mark(node, Phase.ERROR, message)
        else:
            node = self._add(
                name, NodeType.SKIPPED, Phase.ERROR, caller, base, place, message=message
            )
        self.locks.release(node.id)
        return TemplateError(message)

    def _add(
        self,
        name: str,
        type_: NodeType,
        phase: Phase,
        caller: Caller,
        base: TemplateBase,
        place: Place,
        *,
        message: str = "",
        inputs: JsonObject | None = None,
    ) -> Node:
        return self.state.add(
            name,
            type_,
            phase,
            caller=caller,
            scope=base.scope,
            boundary_id=place.boundary_id,
            message=message,
            inputs=inputs,
            hooked=place.hooked,
            retried=place.retried,
        )

    def _prepare(
        self,
        name: str,
        caller: Caller,
        base: TemplateBase,
        arguments: list[JsonObject],
        place: Place,
    ) -> Prepared:
        node_id = self.state.id_of(name)
        if node_id in self._prepared:
            return self._prepared[node_id]
        found = find(caller, base, self.catalog)
        if found is None:
            raise ExpressionError(
                f"template {caller.template_name or caller.template_ref} not found"
            )
        template = with_defaults(found[0], self.spec.get("templateDefaults"))
        local = {"node.name": name}
        if caller.kind:
            local[f"{caller.kind}.name"] = caller.name
        outer = self.scope(local)
        parameters = input_parameters(template, arguments, outer, self.catalog.config_maps)
        variables = {**local, **input_variables(template, parameters)}
        prepared = Prepared(
            template=template,
            base=found[1],
            variables=variables,
            inputs={"parameters": parameters} if parameters else None,
            settings=settings(template, outer.merged(variables)),
        )
        self._prepared[node_id] = prepared
        return prepared

    def _retry_strategy(self, prepared: Prepared) -> JsonObject | None:
        return prepared.settings.get("retryStrategy") or self.spec.get("retryStrategy")

    def _may_start(self, prepared: Prepared, node: Node | None, place: Place) -> bool:
        """Whether parallelism and failFast let this template go on."""
        limit = self.spec.get("parallelism")
        if limit is not None and self._active_pods("") >= int(limit):
            return False
        if node is not None and prepared.kind in ("dag", "steps"):
            if not self._passes_fail_fast(prepared, node):
                return False
            limit = prepared.template.get("parallelism")
            if limit and self._active_pods(node.id) >= int(limit):
                return False
        if not place.boundary_id or node is not None:
            return True
        boundary = self.state.nodes[place.boundary_id]
        around = self._prepared.get(place.boundary_id)
        if around is None:
            return True
        if not self._passes_fail_fast(around, boundary):
            return False
        limit = around.template.get("parallelism")
        return not limit or self._active_children(place.boundary_id) < int(limit)

    def _passes_fail_fast(self, prepared: Prepared, node: Node) -> bool:
        if not prepared.template.get("failFast"):
            return True
        kinds = (NodeType.POD, NodeType.STEPS, NodeType.DAG)
        inside = [other for other in self.state.inside(node.id) if other.type in kinds]
        if not any(other.phase.is_failed for other in inside):
            return True
        if self._active_pods(node.id) == 0:
            groups = [n for n in self.state.inside(node.id) if n.type is NodeType.STEP_GROUP]
            for unfinished in (*groups[-1:], node):
                if not unfinished.phase.is_fulfilled:
                    self.state.mark(unfinished, Phase.FAILED, _FAIL_FAST)
        return False

    def _active_pods(self, boundary_id: str) -> int:
        return sum(
            node.type is NodeType.POD
            and not node.phase.is_fulfilled
            and node.id in self.started_pods
            and boundary_id in ("", node.boundary_id)
            for node in self.state.nodes.values()
        )

    def _active_children(self, boundary_id: str) -> int:
        kinds = (NodeType.POD, NodeType.STEPS, NodeType.DAG)
        return sum(
            node.type in kinds and not node.phase.is_fulfilled
            for node in self.state.inside(boundary_id)
        )

    def _locked(
        self, name: str, prepared: Prepared, caller: Caller, base: TemplateBase, place: Place
    ) -> bool:
        """Takes the template's locks; while one is missing, the node waits as Pending."""
        wanted = prepared.settings.get("synchronization")
        if not wanted:
            return True
        names = lock_names(wanted, self._namespace, self.catalog.config_maps)
        taken = self.locks.acquire(self.state.id_of(name), names)
        node = self.state.get(name)
        if taken is None:
            if node is not None and node.waiting_for_lock:
                node.waiting_for_lock = ""
                self.state.mark(node, node.phase, "")
            return True
        if node is None:
            retries = self._retry_strategy(prepared) is not None
            type_ = NodeType.RETRY if retries else _NODE_TYPES[prepared.kind]
            node = self._add(
                name, type_, Phase.PENDING, caller, base, place, inputs=prepared.inputs
            )
        node.waiting_for_lock = str(taken)
        self.state.mark(node, node.phase, waiting_message(taken))
        self.wake_at(time.time() + _LOCK_POLL_SECONDS)
        return False

    def _with_retries(
        self, name: str, prepared: Prepared, caller: Caller, base: TemplateBase, place: Place
    ) -> Node | None:
        """Executes a template as attempts below a Retry node."""
        parent = self.state.get(name)
        if parent is None:
            parent = self._add(
                name, NodeType.RETRY, Phase.RUNNING, caller, base, place, inputs=prepared.inputs
            )
        elif parent.phase is Phase.PENDING:  # it waited for a lock
            self.state.mark(parent, Phase.RUNNING, "")
        attempts = self.state.attempts(parent)
        deadline: float | None = None
        if attempts and attempts[-1].phase.is_fulfilled:
            decided = self._after_attempt(parent, prepared, attempts)
            if decided is None:
                return parent
            deadline = decided.deadline
            number, attempt_name = len(attempts), f"{name}({len(attempts)})"
        else:
            number = max(len(attempts) - 1, 0)
            attempt_name = f"{name}({number})"
        inner = Place(
            boundary_id=place.boundary_id,
            step_name=place.step_name,
            hooked=place.hooked,
            on_exit=place.on_exit,
            retried=True,
            deadline=deadline,
        )
        more = attempt_scope(attempts[:number])
        self._prepared[self.state.id_of(attempt_name)] = prepared
        attempt: Node | None
        try:
            attempt = self._dispatch(attempt_name, prepared, caller, base, inner, more)
        except (ExpressionError, PodError, UnresolvedError) as error:
            self._errored(attempt_name, caller, base, inner, str(error))
            attempt = self.state.get(attempt_name)
        if attempt is None:
            return parent
        self.state.link(parent, attempt)
        if attempt.phase.is_fulfilled:
            return self._with_retries(name, prepared, caller, base, place)
        return parent

    def _after_attempt(
        self, parent: Node, prepared: Prepared, attempts: list[Node]
    ) -> Retry | None:
        """Ends the retry node, or says that another attempt starts now; else it waits."""
        last = attempts[-1]
        if not last.phase.is_failed:
            parent.outputs = last.outputs
            self.state.mark(parent, Phase.SUCCEEDED, "")
            return None
        overdue = self.deadline is not None and time.time() >= self.deadline
        if self.shutdown or overdue:
            message = (
                f"Stopped with strategy '{self.shutdown}'"
                if self.shutdown
                else "retry exceeded workflow deadline"
            )
            self._end_retries(parent, last, message)
            return None
        decision = decide(self._retry_strategy(prepared) or {}, attempts, time.time())
        match decision:
            case Wait(until, message):
                self.state.mark(parent, Phase.RUNNING, message)
                self.wake_at(until)
                return None
            case Retry():
                self.state.mark(parent, Phase.RUNNING, "")
                return decision
        self._end_retries(parent, last, decision.message)
        return None

    def _end_retries(self, parent: Node, last: Node, message: str) -> None:
        parent.outputs = last.outputs
        self.state.mark(parent, last.phase, message)

    def _dispatch(
        self,
        name: str,
        prepared: Prepared,
        caller: Caller,
        base: TemplateBase,
        place: Place,
        more: Mapping[str, str],
    ) -> Node | None:
        """Makes the node of the template's kind if it is not there, and brings it forward."""
        node = self.state.get(name)
        if node is None:
            phase = Phase.RUNNING if prepared.kind in ("dag", "steps") else Phase.PENDING
            node = self._add(
                name,
                _NODE_TYPES[prepared.kind],
                phase,
                caller,
                base,
                place,
                inputs=prepared.inputs,
            )
        elif node.phase is Phase.PENDING and prepared.kind in ("dag", "steps"):
            self.state.mark(node, Phase.RUNNING)  # it waited for a lock
        match prepared.kind:
            case "dag":
                dag.advance(self, node, prepared, place.on_exit)
            case "steps":
                steps.advance(self, node, prepared, place.on_exit)
            case "suspend":
                self._suspend(node, prepared)
            case _:
                self._pod(node, prepared, place, more)
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

    def _pod(self, node: Node, prepared: Prepared, place: Place, more: Mapping[str, str]) -> None:
        if node.id in self.started_pods:
            return
        if self.shutdown and not place.on_exit:
            message = f"workflow shutdown with strategy: {self.shutdown}"
            self.state.mark(node, Phase.FAILED, message)
            return
        deadline, deadline_message = self._pod_deadline(node, prepared, place)
        if deadline is not None and deadline <= time.time():
            self.state.mark(node, Phase.FAILED, deadline_message)
            return
        template_name = template_of(node) or prepared.template.get("name", "")
        identity = PodIdentity(
            node_id=node.id,
            pod_name=pod_name(self.state.workflow_name, node.name, template_name),
            workflow_name=self.state.workflow_name,
            namespace=self._namespace,
            service_account=self.spec.get("serviceAccountName") or "default",
        )
        local = {**prepared.variables, **more, "pod.name": identity.pod_name}
        scope = self.scope(local)
        template = own_part(prepared.template, scope)
        volumes = [*(self.spec.get("volumes") or []), *(prepared.template.get("volumes") or [])]
        pod = self.pods.make(
            template,
            substitute(volumes, scope),
            identity,
            keeps_result=self._result_is_asked_for(place),
            patch=_patch(self.spec.get("podSpecPatch"), template.get("podSpecPatch")),
        )
        node.host_node_name = socket.gethostname()
        self.started_pods.add(node.id)
        self.start_pod(PodRequest(pod, deadline, deadline_message))

    def _pod_deadline(
        self, node: Node, prepared: Prepared, place: Place
    ) -> tuple[float | None, str]:
        """The earliest of the deadlines that a pod has, and what is said when it is over."""
        ends: list[tuple[float, str]] = []
        if (seconds := prepared.settings.get("activeDeadlineSeconds")) is not None:
            ends.append((time.time() + float(any_string(seconds)), _POD_DEADLINE))
        if timeout := prepared.settings.get("timeout"):
            ends.append((node.started_at + parse_duration_seconds(timeout), _POD_DEADLINE))
        if place.deadline is not None:
            ends.append((place.deadline, _POD_DEADLINE))
        if self.deadline is not None and not place.on_exit:
            ends.append((self.deadline, _DEADLINE))
        return min(ends) if ends else (None, "")

    def _result_is_asked_for(self, place: Place) -> bool:
        """Whether the template around refers to this step's ``outputs.result``."""
        around = self._prepared.get(place.boundary_id)
        if around is None or not place.step_name:
            return False
        key = (place.boundary_id, place.step_name)
        if key not in self._results_asked:
            kind = "tasks" if around.kind == "dag" else "steps"
            name = re.escape(place.step_name)
            pattern = rf"{kind}(\.{name}|\[['\"]{name}['\"]\])\.outputs\.result"
            text = json.dumps(around.template).replace('\\"', '"')
            self._results_asked[key] = re.search(pattern, text) is not None
        return self._results_asked[key]

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

    def run_exit_hook(
        self,
        step: JsonObject,
        node: Node,
        base: TemplateBase,
        boundary_id: str,
        prefix: str,
        scope: Mapping[str, str],
    ) -> bool:
        """Runs a step's exit hook once the step completed; False while that is not done."""
        hook = exit_hook(step, self.spec.get("arguments"))
        if hook is None or not node.phase.is_completed or self.shutdown == "Terminate":
            return True
        own = {
            f"{prefix}.outputs.parameters.{parameter['name']}": parameter.get("value", "")
            for parameter in self.state.result_node(node).output_parameters
        }
        known = {**scope, **own, f"{prefix}.status": str(node.phase)}
        try:
            expression = hook.get("expression")
            if expression and not evaluate_bool(expression, self.scope(known).environment()):
                return True
            handler = self.execute(
                f"{node.name}.onExit",
                Caller.of(hook, ""),
                base,
                self._hook_arguments(hook, known),
                Place(boundary_id=boundary_id, hooked=True, on_exit=True),
            )
        except (ExpressionError, TemplateError, UnresolvedError) as error:
            raise TemplateError(f"{node.name}.onExit: {error}") from error
        if handler is None:
            return False
        self.state.link(node, handler)
        return handler.phase.is_fulfilled


def exit_hook(step: JsonObject, arguments: JsonObject | None) -> JsonObject | None:
    """The exit hook of a step, a task or the spec; ``onExit`` gets the workflow's arguments."""
    if step.get("onExit"):
        return {"template": step["onExit"], "arguments": arguments or {}}
    hook: JsonObject | None = (step.get("hooks") or {}).get("exit")
    return hook


def _patch(*texts: str | None) -> dict[str, object]:
    """The podSpecPatches of the workflow and the template, the later over the earlier."""
    merged: dict[str, object] = {}
    for text in texts:
        found = yaml.safe_load(text) if text else None
        merged.update(found or {})
    return merged
