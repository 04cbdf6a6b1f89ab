"""Reading a run's Workflow object, on this machine and on a cluster alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argotune.steps.cluster.packed_nodes import nodes_in
from argotune.steps.contracts.in_service import DEPLOY_TO_ANNOTATION, NOT_DEPLOYED
from argotune.steps.nodes.ledger import accelerator_of
from argotune.workflows.workspace import evaluation, rollback
from argotune.workflows.workspace.model import SERVICE_TEMPLATE
from argotune.workflows.workspace.workflow import CRON_WORKFLOW_LABEL

Workflow = Mapping[str, Any]

WORKSPACE_LABEL = "argotune.dev/workspace"
SUMMARY_OUTPUT = "summary"
"""The output parameter that says in one line what a step came to."""
RUN_LABEL = "workflows.argoproj.io/workflow"
"""Of a run's pods and volumes: its name."""
PHASE_LABEL = "workflows.argoproj.io/phase"
COMPLETED_LABEL = "workflows.argoproj.io/completed"
LOG_OUTPUT = "log"
"""The output parameter with the end of a failed step's log."""
_TEMPLATE_LABELS = (
    "workflows.argoproj.io/workflow-template",
    "workflows.argoproj.io/cluster-workflow-template",
)
_FAILED = ("Failed", "Error")
_ENDED = ("Succeeded", *_FAILED)
_STOPPED_RUN = "Stopped with strategy "
_STOPPED_NODE = ("workflow shutdown with strategy: ", _STOPPED_RUN)
_SIGTERM = "stopped by SIGTERM"


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


def makes_no_adapter(workflow: Workflow) -> bool:
    """Whether the run trains nothing: it brings an earlier adapter back, measures or serves."""
    labels = workflow["metadata"].get("labels") or {}
    return labels.get(_TEMPLATE_LABELS[0]) in (rollback.NAME, evaluation.TEMPLATE, SERVICE_TEMPLATE)


def changes_nothing(workflow: Workflow) -> bool:
    """Whether a scheduled run has asked for no node, as where data and plan are those of before.

    It needs the metadata alone, where provision notes what the run got.
    """
    labels = workflow["metadata"].get("labels") or {}
    return (
        CRON_WORKFLOW_LABEL in labels
        and phase_of(workflow) not in _FAILED
        and not accelerator_of(workflow)
    )


def serves_alone(workflow: Workflow) -> bool:
    """Whether the run puts a model into service without training."""
    labels = workflow["metadata"].get("labels") or {}
    return labels.get(_TEMPLATE_LABELS[0]) == SERVICE_TEMPLATE


def only_pushes(workflow: Workflow) -> bool:
    """Whether the run's adapter is pushed and not deployed."""
    annotations = workflow["metadata"].get("annotations") or {}
    return annotations.get(DEPLOY_TO_ANNOTATION) == NOT_DEPLOYED


def phase_of(workflow: Workflow) -> str:
    """Return Argo's phase; Pending before the controller has seen the run.

    A Workflow of which only the metadata are known has it in a label of Argo's.
    """
    labelled = (workflow["metadata"].get("labels") or {}).get(PHASE_LABEL)
    return str(workflow.get("status", {}).get("phase") or labelled or "Pending")


def shown_phase(workflow: Workflow) -> str:
    """Return Argo's phase for a person: a run that somebody ended has not failed, but Stopped."""
    return "Stopped" if was_stopped(workflow) else phase_of(workflow)


def message_of(workflow: Workflow) -> str:
    """Return Argo's message; empty where it is of a stop after which `argo retry` went on."""
    message = str(workflow.get("status", {}).get("message") or "")
    is_of_before = message.startswith(_STOPPED_RUN) and not has_ended(workflow)
    return "" if is_of_before and not workflow.get("spec", {}).get("shutdown") else message


def was_stopped(workflow: Workflow) -> bool:
    """Whether Ctrl-C, SIGTERM, `argotune stop` or `argo stop` ended the run.

    Step watch stops a run that would cost money for nothing, and fails itself: that is no stop.
    """
    message = str(workflow.get("status", {}).get("message") or "")
    ended = phase_of(workflow) in _FAILED and message.startswith(_STOPPED_RUN)
    return ended and node_of_step(workflow, "watch").get("phase") not in _FAILED


def is_stopped_node(workflow: Workflow, node: Mapping[str, Any]) -> bool:
    """Whether the node ended only because its run was being stopped.

    Argo's own message says so, or in a run that was stopped the step's, which got SIGTERM.
    """
    message = str(node.get("message") or "")
    told = message.startswith(_STOPPED_NODE) or (_SIGTERM in message and was_stopped(workflow))
    return node.get("phase") in _FAILED and told


def is_suspended(workflow: Workflow) -> bool:
    """Whether the run waits to be resumed: before its begin, or at a suspend template."""
    status = workflow.get("status", {})
    nodes = nodes_of(workflow).values()
    waits = any(node["type"] == "Suspend" and node["phase"] == "Running" for node in nodes)
    not_begun = not nodes and bool(status.get("storedWorkflowTemplateSpec", {}).get("suspend"))
    return phase_of(workflow) == "Running" and (waits or not_begun)


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


def step_input(workflow: Workflow, step: str, name: str) -> str:
    """Return an input of the step of this name; empty where there is none."""
    return inputs_of_node(node_of_step(workflow, step)).get(name, "")


def parameter_of(workflow: Workflow, name: str) -> str:
    """Return a parameter of the run, its own or the template's; empty where it has none."""
    stored = workflow.get("status", {}).get("storedWorkflowTemplateSpec") or {}
    for spec in (workflow.get("spec") or {}, stored):
        for item in (spec.get("arguments") or {}).get("parameters") or []:
            if item["name"] == name and "value" in item:
                return str(item["value"])
    return ""


def inputs_of_node(node: Mapping[str, Any]) -> dict[str, str]:
    """Return the input parameters of one node that have a value."""
    parameters = (node.get("inputs") or {}).get("parameters") or []
    return {each["name"]: str(each["value"]) for each in parameters if "value" in each}


def node_of_step(workflow: Workflow, step: str) -> Mapping[str, Any]:
    """Return the step's first node: with tries, the one that stands for all of them."""
    found = [node for node in nodes_of(workflow).values() if node.get("displayName") == step]
    return found[0] if found else {}


def unpack_nodes(workflow: Workflow) -> Workflow:
    """Unpack the nodes of a Workflow, which Argo compresses when they grow too large."""
    status = workflow.get("status", {})
    if not status.get("compressedNodes"):
        return workflow
    rest = {key: value for key, value in status.items() if key != "compressedNodes"}
    return {**workflow, "status": {**rest, "nodes": nodes_in(status)}}


def is_offloaded(workflow: Workflow) -> bool:
    """Whether Argo keeps the nodes in its own database, outside of the object."""
    return bool(workflow.get("status", {}).get("offloadNodeStatusVersion"))
