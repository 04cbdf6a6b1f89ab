"""Why a step was left out, as its row says it."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.workflows.cli.show.rows import step_rows, utc_now
from tests.workflows.cli.status import END, Node, node, workflow_of

BY_WHEN = {"type": "Skipped", "message": "when 'false == true' evaluated false"}
BY_DEPENDS = {"type": "Skipped", "message": "omitted: depends condition not met"}


def with_outputs(name: str, outputs: dict[str, str], **more: Any) -> Node:
    parameters = [{"name": key, "value": value} for key, value in outputs.items()]
    return node(name, "Succeeded", outputs={"parameters": parameters}, **more)


def messages(*nodes: Node, **status: str) -> dict[str, str]:
    workflow = workflow_of(*nodes)
    workflow["metadata"]["labels"] = {"argotune.dev/workspace": "one"}
    workflow["status"] |= status
    return {row.name: row.message for row in step_rows(workflow, utc_now())}


@pytest.mark.parametrize("outcome", ["kept v3", "nothing was deployed"])
def test_deploy_says_that_the_gate_rejected_the_adapter(outcome: str) -> None:
    found = messages(
        with_outputs("evaluate", {"verdict": "rejected", "outcome": outcome}),
        node("deploy", "Skipped", **BY_WHEN),
    )
    assert found["deploy"] == f"rejected by the gate: {outcome}"


def test_deploy_says_who_rejected_the_adapter_and_why() -> None:
    found = messages(
        with_outputs("evaluate", {"verdict": "passed", "outcome": ""}),
        with_outputs(
            "approve",
            {"decision": "reject", "reason": "worse on dates"},
            type="Suspend",
            message="rejected by ann",
        ),
        node("deploy", "Omitted", **BY_DEPENDS),
    )
    assert found["deploy"] == "rejected by ann: worse on dates"


def test_steps_after_unchanged_data_say_that_nothing_changed() -> None:
    found = messages(
        with_outputs("dataset", {"changed": "false"}),
        node("provision", "Skipped", **BY_WHEN),
        node("tune", "Omitted", **BY_DEPENDS),
    )
    said = "data, plan and weights have not changed"
    assert (found["provision"], found["tune"]) == (said, said)


def test_steps_after_a_failed_one_name_it() -> None:
    found = messages(
        node("tune", "Failed", message="main: Error (exit code 3): no"),
        node(
            "release",
            "Failed",
            message="main: Error (exit code 3): no",
            finishedAt="2026-02-01T00:00:00Z",
        ),
        node("push", "Omitted", **BY_DEPENDS),
    )
    assert found["push"] == "tune failed"


def test_steps_of_a_stopped_run_name_the_step_that_was_stopped() -> None:
    found = messages(
        node("tune", "Failed", message="workflow shutdown with strategy:  Stop", finishedAt=END),
        node("push", "Omitted", **BY_DEPENDS),
        phase="Failed",
        message="Stopped with strategy 'Stop'",
    )
    assert found["push"] == "tune was stopped"


def test_a_workflow_of_another_origin_keeps_the_words_of_argo() -> None:
    nodes = [node("b", "Failed", message="no"), node("deploy", "Skipped", **BY_WHEN)]
    rows = {row.name: row.message for row in step_rows(workflow_of(*nodes), utc_now())}
    assert rows["deploy"] == BY_WHEN["message"]
