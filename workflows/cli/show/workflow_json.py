"""Reading a run's Workflow object, on this machine and on a cluster alike."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

Workflow = Mapping[str, Any]

WORKSPACE_LABEL = "argotune.dev/workspace"
LOG_OUTPUT = "log"
"""The output parameter with the end of a failed step's log."""
_TEMPLATE_LABELS = (
    "workflows.argoproj.io/workflow-template",
    "workflows.argoproj.io/cluster-workflow-template",
)
_ENDED = ("Succeeded", "Failed", "Error")


def name_of(workflow: Workflow) -> str:
    """Return the name of the Workflow."""
    return str(workflow["metadata"]["name"])


def workspace_of(workflow: Workflow) -> str:
    """Return the run's workspace; for a foreign workflow, the beginning of its name."""
    metadata = workflow["metadata"]
    labels = metadata.get("labels", {})
    for label in (WORKSPACE_LABEL, *_TEMPLATE_LABELS):
        if label in labels:
            return str(labels[label])
    return str(metadata.get("generateName", metadata["name"])).rstrip("-")


def phase_of(workflow: Workflow) -> str:
    """Return Argo's phase; Pending before the controller has seen the run."""
    return str(workflow.get("status", {}).get("phase") or "Pending")


def has_ended(workflow: Workflow) -> bool:
    """Whether the run has ended, exit handler included."""
    return phase_of(workflow) in _ENDED


def nodes_of(workflow: Workflow) -> Mapping[str, Mapping[str, Any]]:
    """Map node ids to Argo's nodes."""
    nodes: Mapping[str, Mapping[str, Any]] = workflow.get("status", {}).get("nodes") or {}
    return nodes


def outputs_of(workflow: Workflow) -> dict[str, str]:
    """Return the run's results: the outputs of its entrypoint's node."""
    return outputs_of_node(nodes_of(workflow).get(name_of(workflow), {}))


def outputs_of_node(node: Mapping[str, Any]) -> dict[str, str]:
    """Return the output parameters of one node."""
    parameters = (node.get("outputs") or {}).get("parameters") or []
    return {item["name"]: str(item.get("value", "")) for item in parameters}


def step_output(workflow: Workflow, step: str, name: str) -> str:
    """Return an output of the step of this name; empty where there is none."""
    return outputs_of_node(node_of_step(workflow, step)).get(name, "")


def node_of_step(workflow: Workflow, step: str) -> Mapping[str, Any]:
    """Return the step's first node: with tries, the one that stands for all of them."""
    found = [node for node in nodes_of(workflow).values() if node.get("displayName") == step]
    return found[0] if found else {}


def decoded(workflow: Workflow) -> Workflow:
    """Unpack the nodes of a Workflow, which Argo compresses when they grow too large."""
    status = workflow.get("status", {})
    packed = status.get("compressedNodes")
    if not packed:
        return workflow
    nodes = json.loads(gzip.decompress(base64.b64decode(packed)))
    rest = {key: value for key, value in status.items() if key != "compressedNodes"}
    return {**workflow, "status": {**rest, "nodes": nodes}}


def is_offloaded(workflow: Workflow) -> bool:
    """Whether Argo keeps the nodes in its own database, outside of the object."""
    return bool(workflow.get("status", {}).get("offloadNodeStatusVersion"))
