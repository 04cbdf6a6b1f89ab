"""Executes a template with a retryStrategy: attempts below a Retry node."""

import time
from typing import TYPE_CHECKING

from argotune.workflows.engine.controller.retry import Retry, Wait, attempt_scope, decide
from argotune.workflows.engine.errors import ExpressionError, PodError, UnresolvedError
from argotune.workflows.engine.model import Node, NodeType, Phase
from argotune.workflows.engine.state.place import Execution
from argotune.workflows.engine.state.templates import Prepared

if TYPE_CHECKING:  # the operator calls for attempts, which call the operator
    from argotune.workflows.engine.controller.operate import Operator


def advance(operator: "Operator", call: Execution, prepared: Prepared) -> Node:
    """Makes or brings forward the attempt whose turn it is; the Retry node is returned."""
    parent = operator.state.get(call.name)
    if parent is None:
        parent = operator.add(call, NodeType.RETRY, Phase.RUNNING, inputs=prepared.inputs)
    elif parent.phase is Phase.PENDING:  # it waited for a lock
        operator.state.mark(parent, Phase.RUNNING, "")
    while not parent.phase.is_fulfilled:
        attempt = _current(operator, call, prepared, parent)
        if attempt is None or not attempt.phase.is_fulfilled:
            break
    return parent


def _current(
    operator: "Operator", call: Execution, prepared: Prepared, parent: Node
) -> Node | None:
    """Executes the running attempt or a new one; None where none may run now."""
    attempts = operator.state.attempts(parent)
    deadline: float | None = None
    number = len(attempts)
    if attempts and attempts[-1].phase.is_fulfilled:
        decided = _after(operator, prepared, parent, attempts)
        if decided is None:
            return None
        deadline = decided.deadline
    elif attempts:
        number -= 1
    inner = call.attempt(number, deadline)
    operator.prepared[operator.state.id_of(inner.name)] = prepared
    try:
        attempt = operator.dispatch(inner, prepared, attempt_scope(attempts[:number]))
    except (ExpressionError, PodError, UnresolvedError) as error:
        attempt = operator.mark_errored(inner, str(error))
    operator.state.link(parent, attempt)
    return attempt


def _after(
    operator: "Operator", prepared: Prepared, parent: Node, attempts: list[Node]
) -> Retry | None:
    """Ends the Retry node, has it wait, or says that another attempt starts now."""
    last = attempts[-1]
    if not last.phase.is_failed:
        parent.outputs = last.outputs
        operator.state.mark(parent, Phase.SUCCEEDED, "")
        return None
    overdue = operator.deadline is not None and time.time() >= operator.deadline
    if operator.shutdown or overdue:
        stopped = f"Stopped with strategy '{operator.shutdown}'"
        message = stopped if operator.shutdown else "retry exceeded workflow deadline"
        _end(operator, parent, last, message)
        return None
    match decide(operator.retry_strategy(prepared) or {}, attempts, time.time()):
        case Wait(until, message):
            operator.state.mark(parent, Phase.RUNNING, message)
            operator.wake_at(until)
            return None
        case Retry() as retry:
            operator.state.mark(parent, Phase.RUNNING, "")
            return retry
        case stop:
            _end(operator, parent, last, stop.message)
            return None


def _end(operator: "Operator", parent: Node, last: Node, message: str) -> None:
    parent.outputs = last.outputs
    operator.state.mark(parent, last.phase, message)
