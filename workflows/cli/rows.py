"""The steps of a run as a person thinks of them, read from the Workflow's status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_SHOWN = ("Pod", "Retry", "Suspend", "Skipped")


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step: a pod, or all tries of one."""

    name: str
    phase: str
    done: int
    total: int
    """Progress as done of total units; 0 of 0 when the step has not said."""
    seconds: float | None
    """Time since its start, or from start to end; None before the start."""
    attempts: int
    message: str


def step_rows(workflow: Mapping[str, Any], now: datetime) -> list[StepRow]:
    """The run's steps in the order in which they started; the ones left out come last."""
    nodes: dict[str, dict[str, Any]] = workflow.get("status", {}).get("nodes", {})
    tries = {
        child
        for node in nodes.values()
        if node["type"] == "Retry"
        for child in node.get("children", [])
    }
    shown = [
        node for node_id, node in nodes.items() if node["type"] in _SHOWN and node_id not in tries
    ]
    shown.sort(key=lambda node: (node["type"] == "Skipped", node.get("startedAt") or "~"))
    return [_row(node, nodes, now) for node in shown]


def parse_time(text: str | None) -> datetime | None:
    """Kubernetes' time, RFC 3339."""
    return datetime.fromisoformat(text) if text else None


def seconds_between(start: str | None, end: str | None, now: datetime) -> float | None:
    """Seconds from start to end, or to now; None without a start."""
    began = parse_time(start)
    if began is None:
        return None
    return max(0.0, ((parse_time(end) or now) - began).total_seconds())


def age(seconds: float) -> str:
    """A duration as kubectl writes it: 45s, 12m, 5h, 3d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (size > 60 and seconds >= size):
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def utc_now() -> datetime:
    return datetime.now(UTC)


def _row(node: Mapping[str, Any], nodes: Mapping[str, Any], now: datetime) -> StepRow:
    attempts = [nodes[child] for child in node.get("children", []) if child in nodes]
    last = attempts[-1] if node["type"] == "Retry" and attempts else node
    done, total = _progress(last.get("progress", ""))
    return StepRow(
        name=_name(node),
        phase=node["phase"],
        done=done,
        total=total,
        seconds=seconds_between(node.get("startedAt"), node.get("finishedAt"), now),
        attempts=len(attempts) if node["type"] == "Retry" else 1,
        message=last.get("message") or node.get("message") or "",
    )


def _name(node: Mapping[str, Any]) -> str:
    """An exit handler goes by its template: Argo calls it after the workflow."""
    name = str(node["displayName"])
    return str(node["templateName"]) if name.endswith(".onExit") else name


def _progress(text: str) -> tuple[int, int]:
    done, _, total = text.partition("/")
    return (int(done), int(total)) if done.isdigit() and total.isdigit() else (0, 0)
