from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from argotune.steps.watch.need import end_of_need, step_in_need

Object = dict[str, Any]


def workflow(nodes: Object, **status: Any) -> Object:
    return {
        "metadata": {"uid": "uid"},
        "spec": {},
        "status": {"phase": "Running", "nodes": nodes, **status},
    }


def tune(phase: str, *tries: str) -> Object:
    nodes = {"1": {"displayName": "tune", "type": "Retry", "phase": phase}}
    return nodes | {
        f"1-{number}": {"displayName": f"tune({number})", "type": "Pod", "phase": each}
        for number, each in enumerate(tries)
    }


def evaluate(phase: str) -> Object:
    return tune("Succeeded") | {"2": {"displayName": "evaluate", "type": "Retry", "phase": phase}}


def end(found: Object | None) -> str:
    return end_of_need(found, run="uid", steps=("tune", "evaluate"))


@pytest.mark.parametrize(
    "found",
    [
        workflow({}),
        workflow({"0": {"displayName": "model", "phase": "Failed"}}),
        workflow(tune("Pending")),
        workflow(tune("Running", "Error", "Pending")),
        # Argo makes the node of the next step a moment later.
        workflow(tune("Succeeded")),
        workflow(evaluate("Running")),
        {"metadata": {"uid": "uid"}, "spec": {}},
    ],
)
def test_the_node_is_needed_until_both_steps_have_ended_with_all_their_tries(found: Object) -> None:
    assert end(found) == ""


@pytest.mark.parametrize("phase", ["Failed", "Error", "Skipped", "Omitted"])
def test_a_tune_that_fails_is_the_end_of_the_need(phase: str) -> None:
    assert end(workflow(tune(phase, "Failed"))) == f"tune is {phase}"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error", "Skipped", "Omitted"])
def test_the_end_of_evaluate_is_the_end_of_the_need(phase: str) -> None:
    assert end(workflow(evaluate(phase))) == f"evaluate is {phase}"


def test_the_step_whose_pod_is_to_start_is_the_first_that_has_not_succeeded() -> None:
    steps = ("tune", "evaluate")
    assert step_in_need(workflow({}), steps) == "tune"
    assert step_in_need(workflow(tune("Running")), steps) == "tune"
    assert step_in_need(workflow(tune("Succeeded")), steps) == "evaluate"
    # A run without a scorer passes `answer` over.
    more = ("tune", "answer", "evaluate")
    skipped = {"3": {"displayName": "answer", "type": "Skipped", "phase": "Skipped"}}
    assert step_in_need(workflow(tune("Succeeded")), more) == "answer"
    assert step_in_need(workflow(tune("Succeeded") | skipped), more) == "evaluate"
    assert step_in_need(workflow(evaluate("Running")), more) == "evaluate"


def test_compressed_steps_are_read() -> None:
    packed = base64.b64encode(gzip.compress(json.dumps(evaluate("Succeeded")).encode())).decode()
    assert end(workflow({}, compressedNodes=packed)) == "evaluate is Succeeded"


def test_node_status_in_the_database_ends_the_watch() -> None:
    assert end(workflow({}, offloadNodeStatusVersion="fnv:1")) == (
        "Argo stores the run's node status in its database, where watch cannot read it"
    )


def test_a_run_that_ends_or_is_gone_needs_no_node() -> None:
    stopped = workflow(tune("Running")) | {"spec": {"shutdown": "Terminate"}}
    assert end(stopped) == "the run is being stopped (spec.shutdown: Terminate)"
    assert end(workflow({}, phase="Failed")) == "the run is Failed"
    assert end(None) == "the run was deleted"
    assert (
        end({"metadata": {"uid": "a later run of this name"}, "spec": {}}) == "the run was deleted"
    )
