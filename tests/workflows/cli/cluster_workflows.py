"""Runs as a cluster's Argo keeps them, as far as they are looked at."""

from __future__ import annotations

import json
from typing import Any

from argotune.workflows.workspace import manifests
from tests.fakes.kube import Cluster, Object
from tests.workflows.cli.status import END, START, Node, attempt, retry

NAME = "my-model-abcde"
IMAGE = "registry.example.com/argotune-plan:1"
NO_IMAGE = (
    f'ImagePullBackOff: Back-off pulling image "{IMAGE}": ErrImagePull: rpc error: code = NotFound'
    f' desc = failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}":'
    f" {IMAGE}: not found"
)
"""What Kubernetes 1.34 and Argo 4.0 say of an image that is not there."""


def run_of(*nodes: Node, phase: str = "Running", name: str = NAME, **status: Any) -> Object:
    """A run of workspace my-model in namespace team-a."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": f"uid-of-{name}",
            "creationTimestamp": START,
            "labels": {
                "argotune.dev/workspace": name.rpartition("-")[0],
                "workflows.argoproj.io/phase": phase,
                "workflows.argoproj.io/completed": str(phase != "Running").lower(),
            },
        },
        "spec": {"workflowTemplateRef": {"name": "finetune"}},
        "status": {
            "phase": phase,
            "nodes": {node["id"]: node for node in nodes},
            **({} if phase == "Running" else {"finishedAt": END}),
            **status,
        },
    }


def failed_run(**strategy: int) -> Object:
    """A run that failed and left its volume, with this ttlStrategy of its own."""
    claim = {"name": "work", "persistentVolumeClaim": {"claimName": f"{NAME}-work"}}
    spec = {
        "ttlStrategy": {"secondsAfterCompletion": 7 * 24 * 3600, **strategy},
        "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "22Gi"}}}}],
    }
    return run_of(
        *step("plan", "Succeeded"),
        *step("tune", "Failed"),
        phase="Failed",
        persistentVolumeClaims=[claim],
        storedWorkflowTemplateSpec=spec,
    )


def large_run(name: str, *, size_bytes: int = 113_000) -> Object:
    """A run that has ended, as large as one of the whole template with all its steps."""
    run = with_node(run_of(*step("plan", "Succeeded"), phase="Succeeded", name=name), "NVIDIA A10")
    text = "x" * (size_bytes - len(json.dumps(run)))
    return {**run, "status": {**run["status"], "storedTemplates": {"": text}}}


def with_node(run: Object, accelerator: str) -> Object:
    """The run when provision has written down its node."""
    text = json.dumps({"run": run["metadata"]["uid"], "accelerator": accelerator})
    annotations = {"argotune.dev/accelerator": text}
    return {**run, "metadata": {**run["metadata"], "annotations": annotations}}


def cron_of(workspace: str = "my-model", **status: Any) -> Object:
    """The CronWorkflow of a workspace in namespace team-a."""
    cron = manifests.cron_workflow(
        {"name": workspace, "preset": "tiny", "output-image": "registry.example.com/a:1"},
        ["0 3 * * *"],
        timezone="Etc/UTC",
    )
    return {**cron, "metadata": {**cron["metadata"], "namespace": "team-a"}, "status": status}


def step(
    name: str, phase: str, *, message: str = "", outputs: dict[str, str] | None = None
) -> list[Node]:
    """A step's node and its only try; the pods of the run are named after the tries."""
    given = {"outputs": _parameters(outputs)} if outputs else {}
    said = {"message": message} if message else {}
    outer = "Running" if phase == "Pending" else phase
    return retry(name, outer, attempt(f"{name}(0)", phase, **said, **given), **given)


def entry(**outputs: str) -> Node:
    """The node of the run itself."""
    return {
        "id": NAME,
        "displayName": NAME,
        "type": "DAG",
        "templateName": "finetune",
        "phase": "Succeeded",
        "startedAt": START,
        "outputs": _parameters(outputs),
    }


def exit_handler(phase: str, *, message: str = "", **outputs: str) -> list[Node]:
    """The nodes of release, with the names that Argo 4.0 gives them."""
    inner, outer = "release(0)", "release"
    flags = {"templateName": "release"}
    given = {"outputs": _parameters(outputs)} if outputs else {}
    said = {"message": message} if message else {}
    around = "Running" if phase == "Pending" else phase
    first = attempt(inner, phase) | flags | given | said
    nodes = [{**retry(outer, around, first)[0], **flags, **given}, first]
    return [{**each, "name": f"{NAME}.onExit.{each['displayName']}"} for each in nodes]


def pod_name(node_id: str) -> str:
    """The name of a node's pod."""
    return "pod-of-" + node_id.replace("(", "-").replace(")", "").replace(".onExit", "-exit")


def pod_of(node_id: str, name: str = NAME, *, phase: str = "Pending") -> Object:
    """The pod of a node."""
    return {
        "kind": "Pod",
        "metadata": {
            "name": pod_name(node_id),
            "namespace": "team-a",
            "labels": {"workflows.argoproj.io/workflow": name},
            "annotations": {"workflows.argoproj.io/node-id": node_id},
        },
        "status": {"phase": phase},
    }


def put_pod(cluster: Cluster, node_id: str, *lines: str, writing: bool = False) -> str:
    """Put a pod with its log; its name."""
    pod = cluster.put(pod_of(node_id, phase="Running" if writing else "Succeeded"))
    name = str(pod["metadata"]["name"])
    if writing:
        cluster.writing.add(name)
    cluster.write_log(name, *lines)
    return name


def service_of(name: str, ready: int = 1, **selector: str) -> Object:
    """The Deployment of a workspace's service."""
    labels = {
        "app.kubernetes.io/part-of": "argotune",
        "app.kubernetes.io/component": "inference",
        "argotune.dev/service": name,
    }
    return {
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "labels": labels,
            "creationTimestamp": START,
        },
        "spec": {"replicas": 1, "template": {"spec": {"nodeSelector": selector}}},
        "status": {"readyReplicas": ready},
    }


def _parameters(outputs: dict[str, str] | None) -> dict[str, Any]:
    return {"parameters": [{"name": key, "value": text} for key, text in (outputs or {}).items()]}
