"""The approval of a run among its steps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from argotune.workflows.cli.show.rows import step_rows
from tests.workflows.cli.status import node, workflow_of

NOW = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)


def row_of(phase: str, **more: Any) -> str:
    """What the row of the suspended node says at half past; its time is over at one."""
    asked = node("approve", phase, type="Suspend", **more)
    parameters = [{"name": "approval-timeout-seconds", "value": "3600"}]
    workflow = {**workflow_of(asked), "spec": {"arguments": {"parameters": parameters}}}
    (row,) = step_rows(workflow, NOW)
    return row.message


@pytest.mark.parametrize(("default", "word"), [("reject", "rejected"), ("approve", "approved")])
def test_a_run_that_waits_says_for_how_long_and_what_then(default: str, word: str) -> None:
    source = {"supplied": {}, "default": default}
    outputs = {"parameters": [{"name": "decision", "valueFrom": source}]}
    assert row_of("Running", outputs=outputs) == f"awaits approval, 30m left, then it is {word}"


@pytest.mark.parametrize(
    ("message", "reason", "said"),
    [
        ("rejected by ann", "worse on dates", "rejected by ann: worse on dates"),
        ("rejected by ann", "", "rejected by ann"),
        ("", "nobody decided in time", "rejected: nobody decided in time"),
        ("Resumed by: map[User:x]", "", "rejected (Resumed by: map[User:x])"),
    ],
    ids=["with a reason", "without", "in time", "in Argo's UI"],
)
def test_the_answer_stands_at_the_step(message: str, reason: str, said: str) -> None:
    given = {"decision": "reject", "reason": reason}
    outputs = {"parameters": [{"name": name, "value": value} for name, value in given.items()]}
    assert row_of("Succeeded", outputs=outputs, message=message) == said


def test_another_suspension_is_no_approval() -> None:
    (row,) = step_rows(workflow_of(node("wait", "Running", type="Suspend")), NOW)
    assert (row.phase, row.message) == ("Suspended", "")
