"""argotune approve and reject of a cluster's runs."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from tests.fakes.kube import Cluster, Fault, Object
from tests.workflows.cli.cluster_workflows import NAME, entry, run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.status import END, Node, node

SUPPLIED = [
    {"name": "decision", "valueFrom": {"supplied": {}, "default": "reject"}},
    {"name": "reason", "valueFrom": {"supplied": {}, "default": "nobody decided in time"}},
]
PUSHED = {"report": "registry.example.com/my-model@sha256:1"}


def asking(phase: str = "Running", **more: Any) -> Node:
    """The suspended node, as Argo makes it."""
    outputs = {"parameters": more.pop("outputs", SUPPLIED)}
    return node("approve", phase, type="Suspend", outputs=outputs, **more)


def waiting(*nodes: Node) -> Object:
    run = run_of(*step("push", "Succeeded", outputs=PUSHED), *nodes)
    parameters = [
        {"name": "approval", "value": "required"},
        {"name": "approval-timeout-seconds", "value": "3600"},
    ]
    return {**run, "spec": {**run["spec"], "arguments": {"parameters": parameters}}}


def answered(cluster: Cluster) -> Node:
    found: Node = cluster.objects["Workflow", "team-a", NAME]["status"]["nodes"]["approve"]
    return found


@pytest.mark.parametrize(("command", "word"), [("approve", "approved"), ("reject", "rejected")])
@pytest.mark.parametrize("name", ["my-model", NAME])
def test_the_answer_is_written_as_argo_does_it(
    argotune: Argotune, cluster: Cluster, command: str, word: str, name: str
) -> None:
    cluster.put(waiting(asking()))
    answer = argotune(command, name, "-n", "team-a", "--reason", "as agreed")
    assert (answer.code, answer.err, answer.out) == (0, "", f"run {NAME}: {word} by ann\n")
    found = answered(cluster)
    assert (found["phase"], found["message"]) == ("Succeeded", f"{word} by ann")
    assert found["finishedAt"]
    assert found["outputs"]["parameters"] == [
        {"name": "decision", "value": command},
        {"name": "reason", "value": "as agreed"},
    ]
    again = argotune("approve", NAME, "-n", "team-a")
    assert (again.code, again.errors) == (2, [f"run {NAME} was {word} by ann: as agreed"])


def test_a_run_that_changes_meanwhile_is_read_again(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(waiting(asking()))
    conflict = Fault("PATCH", "workflows", 409, "the object has been modified", times=1)
    cluster.faults.append(conflict)
    assert argotune("approve", NAME, "-n", "team-a").code == 0
    assert answered(cluster)["phase"] == "Succeeded"


def newer(name: str, template: str = "finetune", *, phase: str = "Succeeded") -> Object:
    """A run of the same workspace that began later."""
    run = run_of(*step("deploy", "Succeeded"), phase=phase, name=name)
    labels = {
        **run["metadata"]["labels"],
        "argotune.dev/workspace": "my-model",
        "workflows.argoproj.io/workflow-template": template,
    }
    return {
        **run,
        "metadata": {**run["metadata"], "creationTimestamp": END, "labels": labels},
    }


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
@pytest.mark.parametrize(
    ("other", "template"),
    [
        ("my-model-rollback-fghij", "rollback"),
        ("my-model-fghij", "evaluate"),
        ("my-model-fghij", "finetune"),
    ],
)
def test_a_newer_run_does_not_hide_one_that_waits(
    argotune: Argotune, cluster: Cluster, other: str, template: str, phase: str
) -> None:
    cluster.put(waiting(asking()))
    cluster.put(newer(other, template, phase=phase))
    shown = other if template == "finetune" else NAME
    assert argotune("status", "my-model", "-n", "team-a").out.startswith(f"{shown}: ")
    answer = argotune("reject", "my-model", "-n", "team-a")
    assert (answer.code, answer.out) == (0, f"run {NAME}: rejected by ann\n")


def test_of_several_runs_that_wait_one_is_to_be_named(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(waiting(asking()))
    other = newer("my-model-fghij", phase="Running")
    cluster.put({**waiting(asking()), "metadata": other["metadata"]})
    answer = argotune("approve", "my-model", "-n", "team-a")
    said = f"'my-model': 2 runs of it wait for their approval; name one: my-model-fghij, {NAME}"
    assert (answer.code, answer.errors) == (2, [said])
    assert argotune("approve", NAME, "-n", "team-a").code == 0
    assert answered(cluster)["phase"] == "Succeeded"


def test_what_cannot_be_answered_is_said(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("push", "Running")))
    answer = argotune("approve", NAME, "-n", "team-a")
    assert (answer.code, answer.errors) == (
        2,
        [
            f"run {NAME} waits for no approval: its file does not say argotune.dev/approval:"
            " required"
        ],
    )
    cluster.put(waiting())
    answer = argotune("approve", NAME, "-n", "team-a")
    assert answer.errors == [f"run {NAME} does not wait for its approval yet; it will after push"]
    cluster.put({**waiting(), "status": {"phase": "Failed", "nodes": {}}})
    answer = argotune("approve", NAME, "-n", "team-a")
    assert answer.errors == [f"run {NAME} waits for no approval: it has ended (Failed)"]


def test_steps_that_argo_has_packed_are_left_to_it(argotune: Argotune, cluster: Cluster) -> None:
    run = waiting(asking())
    packed = base64.b64encode(gzip.compress(json.dumps(run["status"].pop("nodes")).encode()))
    run["status"]["compressedNodes"] = packed.decode()
    cluster.put(run)
    answer = argotune("approve", NAME, "-n", "team-a")
    assert answer.code == 3
    assert answer.errors[0].startswith(f"run {NAME}: Argo keeps its steps packed")


def test_status_says_what_is_asked_and_until_when(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(waiting(asking()))
    said = argotune("status", NAME, "-n", "team-a").out
    name = f"{NAME} -n team-a"
    assert (
        "awaits approval until 2026-01-01 01:00 UTC, then it is rejected: read"
        f" `argotune report {name}`, decide by `argotune approve {name}` or"
        f" `argotune reject {name}`\n"
    ) in said


def test_a_rejected_run_ends_well_and_says_so(argotune: Argotune, cluster: Cluster) -> None:
    given = {"decision": "reject", "reason": "worse on dates"}
    values = [{"name": name, "value": value} for name, value in given.items()]
    by = "Resumed by: map[User:ann]"
    rejected = asking("Succeeded", outputs=values, message=by)
    run = waiting(rejected, entry(approval="reject"))
    cluster.put({**run, "status": {**run["status"], "phase": "Succeeded"}})
    answer = argotune("status", NAME, "-n", "team-a", "--watch")
    assert answer.code == 0
    assert (
        f"outcome:     kept what is in service: rejected ({by}): worse on dates"
        in answer.out.splitlines()
    )


def test_the_run_of_an_applied_workspace_is_answered_by_the_operator(
    argotune: Argotune, cluster: Cluster
) -> None:
    metadata = {
        "name": "my-model",
        "namespace": "team-a",
        "finalizers": ["argotune.dev/operator"],
        "annotations": {"argotune.dev/reject": "my-model-of-before"},
    }
    cluster.put({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": metadata})
    run = waiting(asking())
    owner = {"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "name": "my-model", "uid": "1"}
    cluster.put({**run, "metadata": {**run["metadata"], "ownerReferences": [owner]}})
    answer = argotune("approve", "my-model", "-n", "team-a", "--reason", "as agreed")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"run {NAME}: the operator is asked to approve it\n"
    found = cluster.objects["Workspace", "team-a", "my-model"]["metadata"]["annotations"]
    assert found == {"argotune.dev/approve": f"{NAME} ann: as agreed"}
    assert answered(cluster)["phase"] == "Running"
