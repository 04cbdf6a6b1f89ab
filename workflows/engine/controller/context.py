"""What the parts of the controller share: the run that they advance, and who executes templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from argotune.workflows.engine.controller.expand import Turn
from argotune.workflows.engine.controller.locks import LockTable
from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.language.substitute import Scope
from argotune.workflows.engine.model import JsonObject, Node, NodeType, Phase
from argotune.workflows.engine.pods.factory import PodFactory
from argotune.workflows.engine.pods.pod import PodRequest
from argotune.workflows.engine.state.documents import Catalog, TemplateBase
from argotune.workflows.engine.state.run_state import RunState
from argotune.workflows.engine.state.templates import Prepared, TemplateCall
from argotune.workflows.engine.state.variables import runtime_variables


@dataclass(slots=True)
class RunContext:
    """One run of one workflow: what it executes, and the state that it changes."""

    workflow: JsonObject
    """The Workflow object, with its metadata."""
    spec: JsonObject
    """The spec that runs, merged with that of a workflowTemplateRef."""
    base: TemplateBase
    catalog: Catalog
    variables: Scope
    """The `workflow.*` variables that do not change during the run."""
    state: RunState
    locks: LockTable
    pods: PodFactory
    start_pod: Callable[[PodRequest], None]
    wake_at: Callable[[float], None]
    """Called with a time, in seconds since the epoch, at which the operator must look at the run
    again."""
    shutdown: str = ""
    """`Stop` once the run is being stopped; `Terminate` if exit handlers are stopped too."""
    suspended: bool = False
    """Whether the run waits to be resumed before it begins (`spec.suspend`)."""
    ending: Phase | None = None
    """The phase that `workflow.status` has in exit handlers, once the entrypoint has ended."""
    started_pods: set[str] = field(default_factory=set)
    """Ids of the nodes whose pods have started and not ended."""
    prepared: dict[str, Prepared] = field(default_factory=dict)
    """The templates of the nodes executed so far, by node id."""
    turns: dict[tuple[str, str], list[Turn]] = field(default_factory=dict)
    """The executions that steps and tasks were expanded to, by node id and step name."""

    @property
    def deadline(self) -> float | None:
        """End of the activeDeadlineSeconds, in seconds since the epoch; None without one."""
        seconds = self.spec.get("activeDeadlineSeconds")
        if seconds is None or self.state.started_at is None:
            return None
        return int(self.state.started_at) + float(any_string(seconds))

    @property
    def is_overdue(self) -> bool:
        """Whether the workflow's deadline has passed."""
        deadline = self.deadline
        return deadline is not None and self.state.now() >= deadline

    @property
    def stop_message(self) -> str:
        """Argo's message of nodes and workflows that end because the run is being stopped."""
        return f"Stopped with strategy '{self.shutdown}'"

    @property
    def namespace(self) -> str:
        """The workflow's namespace."""
        return str(self.workflow["metadata"]["namespace"])

    def scope(self, *more: Mapping[str, str]) -> Scope:
        """All variables of the workflow, and those of `more`; the later ones win."""
        phase = self.ending or self.state.phase
        return self.variables.merged(runtime_variables(self.state, phase), *more)

    def retry_strategy(self, prepared: Prepared) -> JsonObject | None:
        """The template's retryStrategy, or else the workflow's."""
        # An empty one counts: it retries without limit.
        own = prepared.settings.get("retryStrategy")
        return self.spec.get("retryStrategy") if own is None else own

    def add_node(
        self,
        call: TemplateCall,
        type_: NodeType,
        phase: Phase,
        *,
        message: str = "",
        inputs: JsonObject | None = None,
    ) -> Node:
        """Add the node of a call to the state and return it."""
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

    def mark_errored(self, call: TemplateCall, message: str) -> Node:
        """Mark a call's node as Error, adding the node if it does not exist, and return it."""
        node = self.state.get(call.name)
        if node is None:
            node = self.add_node(call, NodeType.SKIPPED, Phase.ERROR, message=message)
        else:
            self.state.mark(node, Phase.ERROR, message)
        self.locks.release(node.id)
        return node


class TemplateExecutor(Protocol):
    """Executes the templates that DAGs, steps, hooks and retries call; the Operator is one."""

    @property
    def run(self) -> RunContext:
        """The run that the templates belong to."""

    def execute(self, call: TemplateCall) -> Node | None:
        """Execute a template and return its node, or None if it cannot start yet.

        Raises TemplateError if it cannot be executed; its node is then marked Error.
        """

    def dispatch(self, call: TemplateCall, prepared: Prepared, more: Mapping[str, str]) -> Node:
        """Advance the node of a prepared template, or add it first, and return it."""
