"""The status of a Workspace: Kaito's conditions, and what argotune adds to them.

It changes only where something did: times are those of changes, the expected end is rounded to
minutes, and the cost to cents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.steps.nodes.made_node import Made, node_of_service
from argotune.workflows.cli.show.readiness import is_ready, readiness
from argotune.workflows.cli.show.spending import spending_on
from argotune.workflows.operator.events import safe_line
from argotune.workflows.operator.seen import Run

PLANNED = "Planned"
"""Condition: whether the Workspace as it is can be run; argotune's own."""
SUCCEEDED = "WorkspaceSucceeded"
_OF_RUNS = ("JobStarted", "NodeClaimReady", "NodesReady", "ResourceReady", SUCCEEDED)
_ORDER = (PLANNED, *_OF_RUNS[:-1], "InferenceReady", SUCCEEDED)
_LOSSES = {"base": "base-loss", "tuned": "tuned-loss", "live": "live-loss"}
"""Field of the status -> output of the run."""
_VERSION = "argotune.dev/version"
_NOT_YET = "Pending"
_MOST_CHARACTERS = 32768
"""The longest message of a condition, as in metav1.Condition."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether a Workspace can be run: its condition Planned."""

    is_good: bool
    reason: str
    """A word in upper camel case."""
    message: str


def new_status(
    workspace: Object,
    *,
    judgement: Judgement | None,
    run: Run | None,
    service: Object | None,
    now: datetime,
) -> dict[str, Any]:
    """Build the status; None as a value deletes a field.

    `judgement` is None where the content was not looked at again: then the former one holds.
    """
    former = workspace.get("status") or {}
    generation = workspace["metadata"].get("generation")
    known = {each["type"]: each for each in former.get("conditions") or []}
    found = _conditions(workspace, run, service)
    if judgement is not None:
        found[PLANNED] = (judgement.is_good, judgement.reason, judgement.message)
    conditions = {
        kind: _condition(kind, held, known.get(kind), generation, now)
        for kind, held in found.items()
    }
    # Of a run that is deleted some time after its end, what it came to stays said.
    kept = _OF_RUNS if run is None and _holds(known.get(SUCCEEDED)) else ()
    conditions |= {kind: known[kind] for kind in kept if kind in known}
    if PLANNED in known:
        conditions.setdefault(PLANNED, known[PLANNED])
    return {
        "conditions": sorted(conditions.values(), key=lambda each: _ORDER.index(each["type"])),
        **({} if run is None else {"workerNodes": [run.node] if run.node else None}),
        "argotune": _own(workspace, run, service, now),
    }


def changes(former: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch from the former status; empty where nothing has changed."""
    changed: dict[str, Any] = {}
    for name, value in status.items():
        there = former.get(name)
        if isinstance(value, dict):
            if isinstance(there, dict) and (inner := changes(there, value)):
                changed[name] = inner
            elif not isinstance(there, dict) and (given := _without_none(value)):
                changed[name] = given
        elif value != there:
            changed[name] = value
    return changed


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if part is not None}


def _conditions(
    workspace: Object, run: Run | None, service: Object | None
) -> dict[str, tuple[bool, str, str]]:
    """Map Kaito's conditions to whether they hold, with a reason and a message."""
    if run is None:
        serves = service is not None and is_ready(service)
        said = ("Serving", _served(service)) if serves else ("NoRun", "no run of it is there")
        return dict.fromkeys(("ResourceReady", "InferenceReady", SUCCEEDED), (serves, *said))
    ready = readiness(run.workflow, service)
    said = (_reason(run), f"run {run.name}: {run.message}")
    if run.phase == "Succeeded" and not ready.workspace:
        said = ("NoService", f"{said[1]}; no server of its service answers")
    has_node = bool(run.node) or bool(run.made)
    begun = run.phase != _NOT_YET
    answers = ("Serving", _served(service)) if ready.inference else said
    found = {
        "NodesReady": (ready.resource, *said),
        "ResourceReady": (ready.resource, *said),
        "InferenceReady": (ready.inference, *answers),
        SUCCEEDED: (ready.workspace, *said),
    }
    if run.made:
        found = {"NodeClaimReady": (has_node, *said), **found}
    if workspace.get("tuning") is not None:
        found["JobStarted"] = (begun, *said)
    return found


def _reason(run: Run) -> str:
    if run.awaits_approval:
        return "AwaitsApproval"
    return "Suspended" if run.is_held and not run.has_ended else run.phase


def _holds(condition: Mapping[str, Any] | None) -> bool:
    return condition is not None and condition["status"] == "True"


def _served(service: Object | None) -> str:
    if service is None:
        return "a service answers"
    return f"service {service['metadata']['name']} answers"


def _condition(
    kind: str,
    found: tuple[bool, str, str],
    former: Mapping[str, Any] | None,
    generation: int | None,
    now: datetime,
) -> dict[str, Any]:
    holds, reason, message = found
    status = "True" if holds else "False"
    is_same = former is not None and former.get("status") == status
    time = former["lastTransitionTime"] if is_same and former is not None else _time(now)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": safe_line(message)[:_MOST_CHARACTERS],
        "lastTransitionTime": time,
        **({} if generation is None else {"observedGeneration": generation}),
    }


def _own(
    workspace: Object, run: Run | None, service: Object | None, now: datetime
) -> dict[str, Any]:
    """Build argotune's part; None as a value deletes a field, and what is left out stays."""
    annotations = {} if service is None else service["metadata"].get("annotations") or {}
    host = None if service is None else service["metadata"]["name"]
    namespace = workspace["metadata"]["namespace"]
    of_service = {
        "version": annotations.get(_VERSION) or None,
        "endpoint": None if host is None else f"http://{host}.{namespace}.svc",
    }
    if run is None:
        # What the run's own nodes cost stays said, unless the service has one that goes on costing.
        cost = _spent_usd((), annotations, now)
        return of_service if cost is None else {**of_service, "spentUsd": cost}
    losses = {field: run.outputs.get(output) or None for field, output in _LOSSES.items()}
    return {
        "run": run.name,
        "phase": run.phase,
        "steps": _steps(run.steps),
        "progress": run.progress or None,
        "eta": None if run.ends_at is None else _minute(run.ends_at),
        "node": run.node or None,
        "spentUsd": _spent_usd(run.made, annotations, now),
        "losses": losses if any(losses.values()) else None,
        **of_service,
    }


def _steps(steps: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "phase": phase} for name, phase in steps]


def _spent_usd(made: Made, annotations: Mapping[str, str], now: datetime) -> str | None:
    """Sum what the nodes of run and service have cost.

    None where none was made, or a price is not known.
    """
    own = node_of_service(annotations)
    nodes = made if own is None else (*made, own)
    cost = spending_on(nodes, now).cost_usd if nodes else None
    return None if cost is None else f"{cost:.2f}"


def _minute(moment: datetime) -> str:
    return _time((moment + timedelta(seconds=30)).replace(second=0, microsecond=0))


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
