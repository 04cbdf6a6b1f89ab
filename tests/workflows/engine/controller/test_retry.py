from typing import Any

import pytest

from argotune.workflows.engine.controller.retry import Retry, Stop, Wait, attempt_scope, decide
from argotune.workflows.engine.model import Node, NodeType, Phase


def attempt(
    phase: Phase = Phase.FAILED, *, exit_code: str = "1", started: float = 0.0, message: str = "m"
) -> Node:
    return Node(
        "id", "wf(0)", "wf(0)", NodeType.POD, phase, started_at=started, finished_at=started + 1,
        outputs={"exitCode": exit_code}, message=message,
    )  # fmt: skip


def test_the_limit_counts_retries_not_attempts() -> None:
    assert decide({"limit": "1"}, [attempt()], 10) == Retry(None)
    assert decide({"limit": 1}, [attempt(), attempt()], 10) == Stop("No more retries left")
    assert decide({}, [attempt()] * 50, 10) == Retry(None)


@pytest.mark.parametrize(
    ("policy", "phase", "message", "again"),
    [
        ("", Phase.FAILED, "m", True),
        ("", Phase.ERROR, "m", False),
        ("OnFailure", Phase.ERROR, "m", False),
        ("OnError", Phase.FAILED, "m", False),
        ("OnError", Phase.ERROR, "m", True),
        ("Always", Phase.ERROR, "m", True),
        ("OnTransientError", Phase.FAILED, "m", False),
        ("OnTransientError", Phase.FAILED, "dial tcp: i/o timeout", True),
    ],
)
def test_policies(policy: str, phase: Phase, message: str, again: bool) -> None:
    decision = decide({"retryPolicy": policy}, [attempt(phase, message=message)], 10)
    assert decision == (Retry(None) if again else Stop(message))


def test_an_expression_alone_decides_over_errors_too() -> None:
    strategy = {"expression": 'asInt(lastRetry.exitCode) == 75 || lastRetry.status == "Error"'}
    assert decide(strategy, [attempt(exit_code="75")], 10) == Retry(None)
    assert decide(strategy, [attempt(Phase.ERROR, exit_code="0")], 10) == Retry(None)
    assert decide(strategy, [attempt(exit_code="3")], 10) == Stop(
        "retryStrategy.expression evaluated to false"
    )


def test_backoff_grows_up_to_its_cap() -> None:
    strategy = {"limit": 9, "backoff": {"duration": "10", "factor": 2, "cap": "30s"}}
    one, two, three = ([attempt(started=100)] * count for count in (1, 2, 3))
    assert decide(strategy, one, 101) == Wait(111.0, "Backoff for 10 seconds")
    assert decide(strategy, two, 101) == Wait(121.0, "Backoff for 20 seconds")
    assert decide(strategy, three, 101) == Wait(131.0, "Backoff for 30 seconds")
    assert decide(strategy, one, 112) == Retry(None)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (
            {"expression": "lastRetry.exitCode == '75'"},
            "retryStrategy.expression evaluated to false",
        ),
        ({"retryPolicy": "OnError"}, "exited with 3"),
    ],
)
def test_nothing_waits_for_a_retry_that_does_not_come(strategy: Any, message: str) -> None:
    backoff = {"limit": 5, "backoff": {"duration": "10"}}
    failed = [attempt(exit_code="3", message="exited with 3", started=100)]
    assert decide({**backoff, **strategy}, failed, 101) == Stop(message)
    assert isinstance(decide(backoff, failed, 101), Wait)


def test_the_longest_duration_ends_the_retries() -> None:
    strategy = {"limit": 9, "backoff": {"duration": "10", "maxDuration": "1m"}}
    assert decide(strategy, [attempt(started=100)], 112) == Retry(160.0)
    assert decide(strategy, [attempt(started=100)], 161) == Stop("Max duration limit exceeded")
    late = [attempt(started=100), attempt(started=155)]
    assert decide(strategy, late, 157) == Stop("Backoff would exceed max duration limit")


def test_an_attempt_knows_its_number_and_the_last_one() -> None:
    assert attempt_scope([])["retries"] == "0"
    assert attempt_scope([attempt(exit_code="7")]) == {
        "retries": "1",
        "lastRetry.exitCode": "7",
        "lastRetry.status": "Failed",
        "lastRetry.duration": "1",
        "lastRetry.message": "m",
    }
