"""The limits that keep a template from starting: parallelism, failFast and locks."""

from __future__ import annotations

from collections.abc import Iterable

from argotune.workflows.engine.controller.context import RunContext
from argotune.workflows.engine.controller.locks import (
    LOCK_POLL_SECONDS,
    lock_names,
    waiting_message,
)
from argotune.workflows.engine.model import Node, NodeType, Phase
from argotune.workflows.engine.state.templates import Prepared, TemplateCall

_COUNTED = frozenset({NodeType.POD, NodeType.STEPS, NodeType.DAG})
_FAIL_FAST = "template has failed or errored children and failFast enabled"


def may_start(run: RunContext, call: TemplateCall, prepared: Prepared) -> bool:
    """Whether parallelism and failFast of workflow, template and boundary allow the call."""
    node = run.state.get(call.name)
    limit = run.spec.get("parallelism")
    if limit is not None and _active_pods(run, run.state.nodes.values()) >= int(limit):
        return False
    if node is not None and prepared.kind in ("dag", "steps"):
        inside = list(run.state.inside(node.id))
        if not _passes_fail_fast(run, prepared, node):
            return False
        limit = prepared.template.get("parallelism")
        if limit and _active_pods(run, inside) >= int(limit):
            return False
    return node is not None or _boundary_allows(run, call.place.boundary_id)


def _boundary_allows(run: RunContext, boundary_id: str) -> bool:
    around = run.prepared.get(boundary_id)
    if around is None:
        return True
    if not _passes_fail_fast(run, around, run.state.nodes[boundary_id]):
        return False
    limit = around.template.get("parallelism")
    if not limit:
        return True
    active = sum(
        node.type in _COUNTED and not node.phase.is_fulfilled
        for node in run.state.inside(boundary_id)
    )
    return active < int(limit)


def _passes_fail_fast(run: RunContext, prepared: Prepared, node: Node) -> bool:
    """Whether failFast allows more; if not, fail the template once no pod of it is running."""
    if not prepared.template.get("failFast"):
        return True
    inside = list(run.state.inside(node.id))
    if not any(other.type in _COUNTED and other.phase.is_failed for other in inside):
        return True
    if _active_pods(run, inside) == 0:
        groups = [other for other in inside if other.type is NodeType.STEP_GROUP]
        for unfinished in (*groups[-1:], node):
            if not unfinished.phase.is_fulfilled:
                run.state.mark(unfinished, Phase.FAILED, _FAIL_FAST)
    return False


def _active_pods(run: RunContext, nodes: Iterable[Node]) -> int:
    """The number of pods that have started and not ended."""
    return sum(
        node.type is NodeType.POD and not node.phase.is_fulfilled and node.id in run.started_pods
        for node in nodes
    )


def take_locks(run: RunContext, call: TemplateCall, prepared: Prepared) -> bool:
    """Take the template's locks, or make its node Pending and return False until all are free."""
    wanted = prepared.settings.get("synchronization")
    if not wanted:
        return True
    state = run.state
    names = lock_names(wanted, run.namespace, run.catalog.config_maps)
    taken = run.locks.acquire(state.id_of(call.name), names)
    node = state.get(call.name)
    if taken is None:
        if node is not None and node.waiting_for_lock:
            node.waiting_for_lock = ""
            state.mark(node, node.phase, "")
        return True
    if node is None:
        retries = run.retry_strategy(prepared) is not None
        type_ = NodeType.RETRY if retries else prepared.node_type
        node = run.add_node(call, type_, Phase.PENDING, inputs=prepared.inputs)
    node.waiting_for_lock = str(taken)
    state.mark(node, node.phase, waiting_message(taken))
    run.wake_at(run.state.now() + LOCK_POLL_SECONDS)
    return False
