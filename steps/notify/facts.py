"""What became of a run, from its Workflow object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from argotune.steps.contracts.approval import APPROVE, DECISION, REASON

Outcome = Literal[
    "finished", "pushed", "failed", "rejected", "awaiting-approval", "unchanged", "ended"
]
"""pushed: well, without a service; ended: well, but what became of its adapter is not known."""
_LONGEST_REASON = 500
_FAILED = ("Failed", "Error")
_LOSSES = (("base-loss", "tune"), ("live-loss", "evaluate"), ("tuned-loss", "tune"))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a notification says of a run."""

    workspace: str
    run: str
    """Name of the Workflow."""
    namespace: str
    outcome: Outcome
    reason: str = ""
    """Why it failed or was rejected."""
    results: Mapping[str, str]
    """Losses, references and the version, by the names of the run's outputs; known ones only."""


def facts_of(
    workflow: Mapping[str, Any], *, workspace: str, run: str, namespace: str, status: str
) -> Facts:
    """Tell what a Workflow says; `status` as Argo gives it to exit handlers, empty before."""
    steps = dict(_outputs(workflow))
    outcome, reason = _outcome(workflow, steps, status)
    places = [*_LOSSES, ("reference", "push"), ("report", "push"), ("version", "deploy")]
    results = {name: steps.get(step, {}).get(name, "") for name, step in places}
    return Facts(
        workspace=workspace,
        run=run,
        namespace=namespace,
        outcome=outcome,
        reason=reason[:_LONGEST_REASON],
        results={name: text for name, text in results.items() if text},
    )


def _outcome(
    workflow: Mapping[str, Any], steps: Mapping[str, Mapping[str, str]], status: str
) -> tuple[Outcome, str]:
    """Return the outcome and its reason."""
    answer, gate = steps.get(APPROVE, {}), steps.get("evaluate", {})
    if not status:
        return "awaiting-approval", ""
    is_sent = bool(steps.get("push", {}).get("reference"))
    if gate.get("verdict") == "rejected" and is_sent:
        # With on-rejected: fail that is why the run failed.
        return "rejected", (_failure(workflow) if status in _FAILED else gate.get("reason", ""))
    if status in _FAILED:
        return "failed", _failure(workflow)
    if answer.get(DECISION) == "reject":
        return "rejected", answer.get(REASON, "") or "rejected by a person"
    if steps.get("dataset", {}).get("changed") == "false":
        return "unchanged", "data and plan are those of an adapter that was deployed or rejected"
    if "deploy" not in steps:
        return "ended", ""
    return ("finished" if steps["deploy"].get("endpoint") else "pushed"), ""


def _failure(workflow: Mapping[str, Any]) -> str:
    """Return the message of the first pod that failed, which ends with the step's own sentence."""
    failed = [node for node in _nodes(workflow) if node.get("phase") in _FAILED]
    pods = [node for node in failed if node.get("type") == "Pod"] or failed
    for node in sorted(pods, key=lambda node: str(node.get("finishedAt") or "~")):
        lines = str(node.get("message") or "").strip().splitlines()
        if lines:
            step = str(node.get("displayName")).partition("(")[0]
            return f"{step}: {lines[-1]}"
    return str((workflow.get("status") or {}).get("message") or "")


def _outputs(workflow: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each step with its outputs; of several tries those of the whole."""
    for node in _nodes(workflow):
        parameters = (node.get("outputs") or {}).get("parameters") or []
        values = {each["name"]: str(each["value"]) for each in parameters if "value" in each}
        if values:
            yield str(node.get("displayName")), values


def _nodes(workflow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(((workflow.get("status") or {}).get("nodes") or {}).values())
