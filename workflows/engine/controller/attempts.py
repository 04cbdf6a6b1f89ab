"""Templates with a retryStrategy: attempts below a Retry node."""

from __future__ import annotations

from argotune.workflows.engine.controller.context import RunContext, TemplateExecutor
from argotune.workflows.engine.controller.retry import Retry, Wait, attempt_scope, decide
from argotune.workflows.engine.errors import ExpressionError, PodError, UnresolvedError
from argotune.workflows.engine.model import Node, NodeType, Phase
from argotune.workflows.engine.state.templates import Prepared, TemplateCall


def advance(executor: TemplateExecutor, call: TemplateCall, prepared: Prepared) -> Node:
    """Advance the attempt whose turn it is, or start it; return the Retry node."""
    run = executor.run
    parent = run.state.get(call.name)
    if parent is None:
        parent = run.add_node(call, NodeType.RETRY, Phase.RUNNING, inputs=prepared.inputs)
    elif parent.phase is Phase.PENDING:  # it waited for a lock
        run.state.mark(parent, Phase.RUNNING, "")
    while not parent.phase.is_fulfilled:
        attempt = _current(executor, call, prepared, parent)
        if attempt is None or not attempt.phase.is_fulfilled:
            break
    return parent


def _current(
    executor: TemplateExecutor, call: TemplateCall, prepared: Prepared, parent: Node
) -> Node | None:
    """Execute the running attempt or a new one; None if none may run now."""
    run = executor.run
    attempts = run.state.attempts(parent)
    deadline: float | None = None
    number = len(attempts)
    if attempts and attempts[-1].phase.is_fulfilled:
        decided = _after(run, prepared, parent, attempts)
        if decided is None:
            return None
        deadline = decided.deadline
    elif attempts:
        number -= 1
    inner = call.attempt(number, deadline)
    run.prepared[run.state.id_of(inner.name)] = prepared
    try:
        attempt = executor.dispatch(inner, prepared, attempt_scope(attempts[:number]))
    except (ExpressionError, PodError, UnresolvedError) as error:
        attempt = run.mark_errored(inner, str(error))
    run.state.link(parent, attempt)
    return attempt


def _after(run: RunContext, prepared: Prepared, parent: Node, attempts: list[Node]) -> Retry | None:
    """End the Retry node (None), make it wait (None), or let another attempt start now."""
    last = attempts[-1]
    if not last.phase.is_failed:
        parent.outputs = last.outputs
        run.state.mark(parent, Phase.SUCCEEDED, "")
        return None
    if run.shutdown or run.is_overdue:
        message = run.stop_message if run.shutdown else "retry exceeded workflow deadline"
        _end(run, parent, last, message)
        return None
    match decide(run.retry_strategy(prepared) or {}, attempts, run.state.now()):
        case Wait(until, message):
            run.state.mark(parent, Phase.RUNNING, message)
            run.wake_at(until)
            return None
        case Retry() as retry:
            run.state.mark(parent, Phase.RUNNING, "")
            return retry
        case stop:
            _end(run, parent, last, stop.message)
            return None


def _end(run: RunContext, parent: Node, last: Node, message: str) -> None:
    parent.outputs = last.outputs
    run.state.mark(parent, last.phase, message)
