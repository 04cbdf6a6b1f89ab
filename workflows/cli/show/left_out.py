"""Why a step of a run was left out, for a person: Argo has an expression for it, or no reason."""

from __future__ import annotations

from argotune.workflows.cli.show.approval import approval_of
from argotune.workflows.cli.show.workflow_json import (
    WORKSPACE_LABEL,
    Workflow,
    is_stopped_node,
    nodes_of,
    step_output,
)

_FAILED = ("Failed", "Error")
_STEPS = ("Pod", "Retry", "Suspend")


def why_left_out(workflow: Workflow, step: str) -> str:
    """Say why a skipped or omitted step of a run was left out.

    Empty where that is not known, as in a Workflow of another origin.
    """
    if WORKSPACE_LABEL not in (workflow["metadata"].get("labels") or {}):
        return ""
    if step_output(workflow, "dataset", "changed") == "false":
        return "data, plan and weights have not changed"
    if step == "deploy":
        if step_output(workflow, "evaluate", "verdict") == "rejected":
            outcome = step_output(workflow, "evaluate", "outcome")
            return ": ".join(filter(None, ("rejected by the gate", outcome)))
        asked = approval_of(workflow)
        if asked is not None and asked.is_rejected:
            return asked.answer
    return _first_failure(workflow)


def _first_failure(workflow: Workflow) -> str:
    """Name the step whose failure left out all that depends on it; empty where none failed."""
    failed = [
        node
        for node in nodes_of(workflow).values()
        if node["type"] in _STEPS and node["phase"] in _FAILED
    ]
    if not failed:
        return ""
    first = min(failed, key=lambda node: str(node.get("finishedAt") or "~"))
    name = str(first["displayName"]).partition("(")[0]
    return f"{name} {'was stopped' if is_stopped_node(workflow, first) else 'failed'}"
