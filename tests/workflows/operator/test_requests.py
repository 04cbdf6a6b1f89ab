"""Approvals and rollbacks that annotations ask for."""

from __future__ import annotations

from typing import Any

from argotune.steps.contracts.in_service import Event, InService
from argotune.workflows.workspace import manifests, rollback
from tests.fakes.kube import Cluster
from tests.workflows.cli.cluster_workflows import step
from tests.workflows.operator.acting import NAME, NAMESPACE, Acting

ADAPTER = f"registry.example.com/my-model@sha256:{64 * 'a'}"
BEFORE = f"registry.example.com/my-model@sha256:{64 * 'b'}"


def awaiting(acting: Acting) -> str:
    """Bring the Workspace's run to its approval; returns its name."""
    acting.apply()
    acting.look()
    (run,) = acting.runs
    name = run["metadata"]["name"]
    suspended = {
        "id": "approve",
        "name": "approve",
        "displayName": "approve",
        "templateName": "approve",
        "type": "Suspend",
        "phase": "Running",
        "startedAt": "2026-11-29T00:00:00Z",
    }
    nodes: list[Any] = [*step("push", "Succeeded"), suspended]
    acting.play(name, nodes={node["id"]: node for node in nodes})
    return name


def answer(acting: Acting, name: str) -> dict[str, Any]:
    node: dict[str, Any] = acting.cluster.objects["Workflow", NAMESPACE, name]["status"]["nodes"][
        "approve"
    ]
    return node


def decision(acting: Acting, name: str) -> str:
    parameters = answer(acting, name)["outputs"]["parameters"]
    return {each["name"]: each["value"] for each in parameters}["decision"]


def test_a_run_that_waits_is_approved_by_its_name(acting: Acting) -> None:
    name = awaiting(acting)
    acting.look()
    assert acting.condition("WorkspaceSucceeded")[1] == "AwaitsApproval"
    acting.annotate(approve="my-model-of-before")
    acting.look()
    assert answer(acting, name)["phase"] == "Running"
    acting.annotate(approve=name)
    acting.look()
    assert decision(acting, name) == "approve"
    acting.look()
    assert [reason for reason, _ in acting.said].count("Answered") == 1


def test_the_text_after_the_run_is_the_reason(acting: Acting) -> None:
    name = awaiting(acting)
    acting.annotate(approve=f"{name} ann: as agreed")
    acting.look()
    parameters = answer(acting, name)["outputs"]["parameters"]
    assert {"name": "reason", "value": "ann: as agreed"} in parameters


def test_a_run_that_waits_is_rejected(acting: Acting) -> None:
    name = awaiting(acting)
    acting.annotate(reject=name)
    acting.look()
    assert decision(acting, name) == "reject"


def serve(cluster: Cluster) -> None:
    template = manifests.template(name=rollback.NAME)
    cluster.put({**template, "metadata": {**template["metadata"], "namespace": NAMESPACE}})
    event = Event(time="2026-11-28T00:00:00Z", person="ann", run="my-model-aaaaa")
    known = InService(
        adapter=ADAPTER, version="v2", previous=BEFORE, event=event, workspace_uid="uid-1"
    )
    labels = {
        "argotune.dev/service": NAME,
        "app.kubernetes.io/part-of": "argotune",
        "app.kubernetes.io/component": "inference",
    }
    metadata = {
        "name": NAME,
        "namespace": NAMESPACE,
        "labels": labels,
        "annotations": known.annotations(),
    }
    cluster.put({"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}})


def rollbacks(acting: Acting) -> list[str]:
    return [
        str(argument["value"])
        for run in acting.runs
        if run["metadata"]["name"].startswith("my-model-rollback-")
        for argument in run["spec"]["arguments"]["parameters"]
        if argument["name"] == "reference"
    ]


def test_a_version_is_brought_back_once(acting: Acting, cluster: Cluster) -> None:
    serve(cluster)
    acting.apply()
    acting.annotate(rollback="v1")
    acting.look()
    acting.look()
    acting.restart()
    acting.look()
    assert rollbacks(acting) == ["registry.example.com/my-model:v1"]
    acting.annotate(rollback=None)
    acting.look()
    for asked in ("previous", "previous again", "previous again"):
        acting.annotate(rollback=asked)
        acting.look()
    assert rollbacks(acting) == ["registry.example.com/my-model:v1", BEFORE, BEFORE]


def test_a_version_that_is_in_service_starts_nothing(acting: Acting, cluster: Cluster) -> None:
    serve(cluster)
    acting.apply()
    acting.annotate(rollback="v2")
    acting.look()
    assert rollbacks(acting) == []


def test_a_rollback_without_a_service_is_told(acting: Acting) -> None:
    acting.apply()
    acting.annotate(rollback="v1")
    acting.look()
    acting.look()
    told = [message for reason, message in acting.said if reason == "NoRollback"]
    assert told == ["'my-model': no service of this name in namespace team-a; there are none"]
