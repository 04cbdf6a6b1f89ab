"""The steps of a run in a person's terms, read from the Workflow's status."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from argotune.steps.common.errors import ParamsError
from argotune.workflows.cli.show.approval import approval_of
from argotune.workflows.cli.show.left_out import why_left_out
from argotune.workflows.cli.show.pending import waiting_message
from argotune.workflows.cli.show.workflow_json import (
    SUMMARY_OUTPUT,
    Workflow,
    is_offloaded,
    is_stopped_node,
    nodes_of,
    outputs_of_node,
)

_SHOWN = ("Pod", "Retry", "Suspend", "Skipped")
_LEFT_OUT = ("Skipped", "Omitted")
_BY_SETTING = (
    "answer",
    "score",
    "watch",
    "approval",
    "approve",
    "approved",
    "notify-waiting",
    "notify",
    "reject",
)
_FAILED = ("Failed", "Error")
_REFUSED = str(ParamsError.exit_code)
_KILLED = re.compile(r"(OOMKilled|Error) \(exit code (137|143)\)")
_BEFORE_THE_LOG = re.compile(r"^main: Error \(exit code \d+\): ")
_MEMORY = re.compile(r": host memory: ")
_OF_ARGO = re.compile(r"(^|: )time=\S+ level=\w+ .*\bargo=true\b|^Error: exit status \d+$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

Node = Mapping[str, Any]


NOT_TRIED_AGAIN = "retryStrategy.expression evaluated to false"
"""Argo's message of a step whose last try failed for good; that try says why."""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step: a pod, or all tries of one."""

    id: str
    """Id of the node; loops and nested DAGs may give several steps one name."""
    name: str
    phase: str
    """Argo's, or Retrying between two tries, or Suspended, or Stopped."""
    done: int
    total: int
    """Progress as done of total units; 0 of 0 when the step has not reported any."""
    seconds: float | None
    """Seconds since its start, or from start to end; None before the start and for omitted
    steps."""
    attempts: int
    message: str
    """One line."""


def step_rows(
    workflow: Mapping[str, Any], now: datetime, reasons: Mapping[str, str] | None = None
) -> list[StepRow]:
    """List the run's steps in the order of their start; omitted ones come last, as they depend.

    `reasons` is step -> why it waits, shown while it runs, because a Workflow cannot contain it.
    """
    nodes = nodes_of(workflow)
    shown = [node for node in nodes.values() if node["type"] in _SHOWN and not _is_try(node)]
    order = _order(workflow)
    shown.sort(key=lambda node: _place(node, order))
    rows = [_with_reason(_row(workflow, node, now), reasons or {}) for node in shown]
    return [row for row in rows if not _is_no_news(row)]


def _order(workflow: Workflow) -> dict[str, int]:
    """Map the tasks of the run's DAGs to their places there; Argo's nodes are in no order."""
    spec = workflow.get("status", {}).get("storedWorkflowTemplateSpec") or workflow.get("spec", {})
    tasks = [
        task["name"]
        for template in spec.get("templates") or []
        for task in (template.get("dag") or {}).get("tasks") or []
    ]
    return {name: place for place, name in enumerate(dict.fromkeys(tasks))}


def _place(node: Node, order: Mapping[str, int]) -> tuple[bool, str, int]:
    is_left_out, place = node["type"] == "Skipped", order.get(node["displayName"], len(order))
    # Argo calls a step omitted when it looks, not in the order of the steps.
    return is_left_out, "" if is_left_out and order else node.get("startedAt") or "~", place


def step_name(node: Node) -> str:
    """Return the step's name for a person.

    An exit handler has the name of its template, because Argo names it after the workflow.
    """
    full = str(node["displayName"])
    name, bracket, attempt = full.partition("(")
    return f"{node['templateName']}{bracket}{attempt}" if name.endswith(".onExit") else full


def is_exit_handler(node: Node) -> bool:
    """Whether it is the workflow's exit handler, a task of it, or a try."""
    return ".onExit" in str(node.get("name") or node["displayName"])


def can_go_on(workflow: Workflow) -> bool:
    """Whether `argo retry` of a failed run can do better than a new one.

    A step that refused its input refuses it again, and before a step has succeeded there is nothing
    to go on from. Of a run whose steps Argo keeps in its database nothing is known against it.
    """
    if is_offloaded(workflow):
        return True
    pods = [each for each in nodes_of(workflow).values() if each["type"] == "Pod"]
    steps = [each for each in pods if not is_exit_handler(each)]
    refused = [each for each in steps if each["phase"] in _FAILED and _exit_code(each) == _REFUSED]
    return not refused and any(each["phase"] == "Succeeded" for each in steps)


def _exit_code(node: Node) -> str:
    return str((node.get("outputs") or {}).get("exitCode", ""))


def last_line(message: str) -> str:
    """Return the last line of a step.

    Argo's message of a container ends with its log, and the log with the error.
    """
    lines = [line.strip() for line in _COLOUR.sub("", message).splitlines() if line.strip()]
    if not lines:
        return ""
    killed = _KILLED.search(lines[0])
    said = [line for line in lines if not is_of_argo(line)] or lines
    if killed:
        # Its last line is not the reason of its end, but tune's says how much memory it used.
        why, code = killed.groups()
        if _MEMORY.match(lines[0], killed.end()):
            return lines[0][killed.start() :]
        name = signal.Signals(int(code) - 128).name
        return f"killed by {name} (exit code {code})" if why == "Error" else killed[0]
    return _BEFORE_THE_LOG.sub("", said[-1])


def is_of_argo(line: str) -> bool:
    """Whether Argo's executor wrote the line into the container's log, not the container."""
    return bool(_OF_ARGO.search(line))


def parse_time(text: str | None) -> datetime | None:
    """Parse Kubernetes' time, RFC 3339."""
    return datetime.fromisoformat(text) if text else None


def seconds_between(start: str | None, end: str | None, now: datetime) -> float | None:
    """Count the seconds from start to end, or to now; None without a start."""
    began = parse_time(start)
    if began is None:
        return None
    return max(0.0, ((parse_time(end) or now) - began).total_seconds())


def age(seconds: float) -> str:
    """Format a duration as kubectl does: 45s, 12m, 5h, 3d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (size > 60 and seconds >= size):
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def _row(workflow: Workflow, node: Node, now: datetime) -> StepRow:
    nodes = nodes_of(workflow)
    tries = [
        nodes[child]
        for child in node.get("children", [])
        if child in nodes and node["type"] == "Retry" and _is_try(nodes[child])
    ]
    last = tries[-1] if tries else node
    phase = _phase(workflow, node, last)
    # `argo retry` deletes the tries of before, and leaves the start of the node around them.
    begun = [each["startedAt"] for each in tries if each.get("startedAt")]
    start = max(node.get("startedAt") or "", min(begun, default=""))
    seconds = seconds_between(start, node.get("finishedAt"), now)
    done, total = _progress(last.get("progress", ""))
    return StepRow(
        id=node["id"],
        name=step_name(node),
        phase=phase,
        done=done,
        total=total,
        seconds=None if phase in _LEFT_OUT else seconds,
        attempts=max(1, len(tries)),
        message=_of_approval(workflow, node, now) or _message(workflow, node, last, phase),
    )


def _of_approval(workflow: Workflow, node: Node, now: datetime) -> str:
    """Give the answer to the approval or, while it is awaited, the time left; else nothing."""
    asked = approval_of(workflow)
    if asked is None or asked.node is not node:
        return ""
    if not asked.is_waiting or asked.ends_at is None:
        return asked.answer
    left = max(0.0, (asked.ends_at - now).total_seconds())
    return f"awaits approval, {age(left)} left, then it is {asked.on_timeout}"


def _is_no_news(row: StepRow) -> bool:
    """Whether a run without its setting leaves it out, as a watch without a node made for it."""
    return row.name in _BY_SETTING and row.phase in _LEFT_OUT


def _with_reason(row: StepRow, reasons: Mapping[str, str]) -> StepRow:
    if row.phase != "Running" or row.name not in reasons:
        return row
    return replace(row, message=last_line(reasons[row.name]))


def _is_try(node: Node) -> bool:
    # Argo flags the node around an exit handler's tries too.
    return node["type"] != "Retry" and bool(node.get("nodeFlag", {}).get("retried"))


def _phase(workflow: Workflow, node: Node, last: Node) -> str:
    phase = str(node["phase"])
    if is_stopped_node(workflow, last) or is_stopped_node(workflow, node):
        return "Stopped"
    if phase == "Running" and last["phase"] in _FAILED and node.get("message"):
        return "Retrying"
    if phase == "Running" and last["phase"] == "Pending":
        return "Pending"
    return "Suspended" if phase == "Running" and node["type"] == "Suspend" else phase


def _message(workflow: Workflow, node: Node, last: Node, phase: str) -> str:
    if phase == "Running" and last is not node:
        return ""
    if phase == "Succeeded":
        return outputs_of_node(node).get(SUMMARY_OUTPUT, "")
    text = last_line(last.get("message") or node.get("message") or "")
    if phase in _LEFT_OUT:
        return why_left_out(workflow, step_name(node)) or text.removeprefix("omitted: ")
    if phase == "Stopped":
        # Argo's own words say no more than the phase; a step says how far it came.
        return text if "stopped by " in text else ""
    if phase == "Pending":
        return waiting_message(text)
    if phase == "Retrying":
        # Argo's words: Backoff for 10 seconds.
        return f"{text}; {node['message'][0].lower()}{node['message'][1:]}"
    return text


def _progress(text: str) -> tuple[int, int]:
    done, _, total = text.partition("/")
    return (int(done), int(total)) if done.isdigit() and total.isdigit() else (0, 0)
