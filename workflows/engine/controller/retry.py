"""The decision whether another attempt follows a failed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr import evaluate_bool
from argotune.workflows.engine.language.govalues import go_string, parse_duration_seconds
from argotune.workflows.engine.language.substitute import Scope
from argotune.workflows.engine.model import JsonObject, Node, Phase

POLICIES = frozenset({"Always", "OnFailure", "OnError", "OnTransientError"})

# What Argo takes for a passing fault of the cluster (util/errors/errors.go), as far as it can
# occur in the message of a step.
_TRANSIENT = (
    "connection refused", "connection reset by peer", "connection timed out", "i/o timeout",
    "tls handshake timeout", "no such host", "network is unreachable", "unexpected eof",
    "transport connection broken", "net/http: timeout", "exceeded quota", "too many requests",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt starts now; it must end by `deadline` (seconds since the epoch)."""

    deadline: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Another attempt starts at `until` (seconds since the epoch)."""

    until: float
    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """No further attempt: the Retry node gets the last attempt's phase, with this message."""

    message: str


Decision = Retry | Wait | Stop


def decide(strategy: JsonObject, attempts: Sequence[Node], now: float) -> Decision:
    """What follows the last of `attempts`, which failed; results and messages are Argo's.

    Argo waits for the backoff before it asks policy and expression, whose answer is known by then:
    here nothing waits for a retry that does not come.

    `now` is in seconds since the epoch. Raises ExpressionError if the strategy is not valid.
    """
    backoff = strategy.get("backoff")
    next_ = Retry(None) if backoff is None else _backoff(backoff, strategy, attempts, now)
    if isinstance(next_, Stop):
        return next_
    return _refused(strategy, attempts) or next_


def _refused(strategy: JsonObject, attempts: Sequence[Node]) -> Stop | None:
    """Why policy, limit or expression allow no further attempt; None if they do."""
    last = attempts[-1]
    if not _policy_allows(strategy, last):
        return Stop(last.message)
    limit = _limit(strategy)
    if limit is not None and len(attempts) > limit:
        return Stop("No more retries left")
    expression = strategy.get("expression")
    if expression and not evaluate_bool(expression, retry_scope(attempts).environment()):
        return Stop("retryStrategy.expression evaluated to false")
    return None


def retry_scope(attempts: Sequence[Node]) -> Scope:
    """`retries` and `lastRetry.*` in a retry expression."""
    last = attempts[-1]
    return Scope(
        {
            "retries": str(len(attempts) - 1),
            "lastRetry.exitCode": (last.outputs or {}).get("exitCode", "-1"),
            "lastRetry.status": str(last.phase),
            "lastRetry.duration": go_string(float(int(last.duration_seconds))),
            "lastRetry.message": last.message,
        }
    )


def attempt_scope(attempts: Sequence[Node]) -> dict[str, str]:
    """`retries` and `lastRetry.*` in the template of the next attempt."""
    if not attempts:
        return {
            "retries": "0",
            "lastRetry.exitCode": "0",
            "lastRetry.status": "",
            "lastRetry.duration": "0",
            "lastRetry.message": "",
        }
    exit_code = (attempts[-1].outputs or {}).get("exitCode", "0")
    return {
        **retry_scope(attempts),
        "retries": str(len(attempts)),
        "lastRetry.exitCode": exit_code,
    }


def _policy(strategy: JsonObject) -> str:
    """The retry policy; it is Always with an expression, so that the expression alone decides."""
    default = "Always" if strategy.get("expression") else "OnFailure"
    return str(strategy.get("retryPolicy") or default)


def _policy_allows(strategy: JsonObject, last: Node) -> bool:
    match _policy(strategy):
        case "Always":
            return True
        case "OnError":
            return last.phase is Phase.ERROR
        case "OnTransientError":
            return any(mark in last.message.lower() for mark in _TRANSIENT)
        case "OnFailure":
            return last.phase is Phase.FAILED
        case other:
            raise ExpressionError(f"{other} is not a valid RetryPolicy")


def _backoff(
    backoff: JsonObject, strategy: JsonObject, attempts: Sequence[Node], now: float
) -> Decision:
    deadline: float | None = None
    if backoff.get("maxDuration"):
        deadline = attempts[0].started_at + parse_duration_seconds(backoff["maxDuration"])
        if now > deadline:
            return Stop("Max duration limit exceeded")
    wait = _wait_seconds(backoff, len(attempts))
    until = (attempts[-1].finished_at or now) + wait
    if deadline is not None and until > deadline:
        return Stop("Backoff would exceed max duration limit")
    limit = _limit(strategy)
    if now < until and limit is not None and len(attempts) <= limit:
        return Wait(until, f"Backoff for {_human(wait)}")
    return Retry(deadline)


def _wait_seconds(backoff: JsonObject, attempts: int) -> float:
    """`duration * factor ** retry number`, at most `cap`."""
    if not backoff.get("duration"):
        raise ExpressionError("no base duration specified for retryStrategy")
    wait = parse_duration_seconds(backoff["duration"])
    factor = _integer(backoff.get("factor"), "retryStrategy.backoff.factor")
    if factor:
        wait *= factor ** (attempts - 1)
    return min(wait, parse_duration_seconds(backoff["cap"])) if backoff.get("cap") else wait


def _limit(strategy: JsonObject) -> int | None:
    return _integer(strategy.get("limit"), "retryStrategy.limit")


def _integer(value: Any, what: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        return int(str(value))
    except ValueError:
        raise ExpressionError(f"{what} must be an integer, got {value!r}") from None


def _human(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:g} seconds"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} minutes {rest} seconds"
