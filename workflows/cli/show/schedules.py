"""The schedules of a namespace: CronWorkflows of argotune's templates, and why one does not run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.rows import age, parse_time
from argotune.workflows.cli.show.workflow_json import Workflow, name_of, phase_of
from argotune.workflows.workspace.schedule import LONGEST_NAME, next_time

CronWorkflow = Mapping[str, Any]

_COLUMNS = ("SCHEDULE", "TIMES", "TIMEZONE", "LAST", "NEXT")
_CONTROLLERS_ZONE = "UTC"
"""Zone of a CronWorkflow that names none, where Argo's controller runs in its own image."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One CronWorkflow."""

    name: str
    workspace: str
    times: tuple[str, ...]
    """Cron expressions."""
    timezone: str
    last: datetime | None
    """When it last began a run."""
    next: datetime | None
    """When it begins the next one; None where it does not run."""
    is_suspended: bool
    reasons: tuple[str, ...]
    """Why it does not run, or why Argo could not begin the last run; a suspension is the first."""

    def __str__(self) -> str:
        last = f"last {_shown(self.last)}" if self.last else "no run yet"
        said = f"{self.name}, {' and '.join(self.times)} {self.timezone}: {last}"
        if self.next:
            said += f", next {_shown(self.next)}"
        return "; ".join([said, *self.reasons])


def template_of(cron: CronWorkflow) -> str:
    """Return the WorkflowTemplate of its runs; empty where it brings its own steps."""
    reference = (cron["spec"].get("workflowSpec") or {}).get("workflowTemplateRef") or {}
    return str(reference.get("name", ""))


def schedule_of(
    cron: CronWorkflow, templates: Collection[str], now: datetime, *, begun: str | None = None
) -> Schedule:
    """Read a CronWorkflow; `templates` are the WorkflowTemplates of its namespace.

    `begun` is when its newest run began, which a run that somebody triggered tells too.
    """
    spec, status = cron["spec"], cron.get("status") or {}
    times = tuple(spec.get("schedules") or filter(None, [spec.get("schedule")]))
    zone = spec.get("timezone") or _CONTROLLERS_ZONE
    is_suspended = bool(spec.get("suspend"))
    obstacles = _obstacles(cron, templates)
    following = None
    try:
        following = next_time(times, zone, now)
    except ValueError as error:
        obstacles.append(str(error))
    return Schedule(
        name=str(cron["metadata"]["name"]),
        workspace=_argument(cron, "name"),
        times=times,
        timezone=zone,
        last=parse_time(begun) or parse_time(status.get("lastScheduledTime")),
        next=None if is_suspended or obstacles else following,
        is_suspended=is_suspended,
        reasons=(
            *(["paused"] if is_suspended else []),
            *obstacles,
            *_conditions(status),
        ),
    )


def schedules_table(schedules: Iterable[Schedule], now: datetime) -> RenderableType:
    """Build a table without borders, like that of the workspaces."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in _COLUMNS:
        # What keeps a schedule from running is a sentence.
        table.add_column(column, no_wrap=column != "NEXT", overflow="fold")
    for each in schedules:
        last = age((now - each.last).total_seconds()) if each.last else ""
        following = f"in {age((each.next - now).total_seconds())}" if each.next else "never"
        table.add_row(
            each.name,
            Text(", ".join(each.times)),
            each.timezone,
            last,
            Text(": ".join(filter(None, [following, "; ".join(each.reasons)]))),
        )
    return Fitting(table, drop=("LAST", "TIMEZONE", "TIMES"))


def runs_table(runs: Iterable[Workflow], now: datetime) -> RenderableType:
    """Build the table of a schedule's runs, from their metadata."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("RUN", no_wrap=True)
    table.add_column("PHASE", no_wrap=True)
    table.add_column("AGE", justify="right", no_wrap=True)
    for run in runs:
        begun = parse_time(run["metadata"].get("creationTimestamp"))
        seconds = (now - begun).total_seconds() if begun else None
        table.add_row(name_of(run), phase_of(run), "" if seconds is None else age(seconds))
    return Fitting(table, drop=("AGE",))


def _obstacles(cron: CronWorkflow, templates: Collection[str]) -> list[str]:
    name, template = cron["metadata"]["name"], template_of(cron)
    found: list[str] = []
    if len(name) > LONGEST_NAME:
        found.append(
            f"its name has {len(name)} characters, and Argo runs none with more than {LONGEST_NAME}"
        )
    if template not in templates:
        found.append(f"WorkflowTemplate {template} is not there")
    if (cron.get("status") or {}).get("phase") == "Stopped":
        found.append("stopped by its stopStrategy")
    return found


def _conditions(status: Mapping[str, Any]) -> list[str]:
    """List what Argo says that is wrong with it: its SpecError and SubmissionError."""
    return [
        f"{condition['type']}: {condition.get('message', '')}"
        for condition in status.get("conditions") or []
        if condition.get("status") == "True" and str(condition.get("type")).endswith("Error")
    ]


def _argument(cron: CronWorkflow, name: str) -> str:
    arguments = (cron["spec"].get("workflowSpec") or {}).get("arguments") or {}
    found = [each for each in arguments.get("parameters") or [] if each.get("name") == name]
    return str(found[0].get("value", "")) if found else ""


def _shown(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")
