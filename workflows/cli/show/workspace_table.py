"""The table of workspaces, with the columns of Kaito's `kubectl get workspace`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.rows import age, seconds_between, utc_now

_COLUMNS = ("NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE")
_SPENT = "SPENT"
_PHASE = "PHASE"
_ENDED_BADLY = ("Failed", "Error", "Stopped")
_DROPPED = ("RESOURCEREADY", "INFERENCEREADY", _SPENT, "AGE", "INSTANCE")
"""What a narrow terminal leaves out first."""

_POLL_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class WorkspaceRow:
    """One workspace: its newest run and its service."""

    name: str
    instance: str
    """The machine of its tuning; empty before it is known."""
    resource_ready: bool
    inference_ready: bool
    workspace_ready: bool
    created: str
    """Time, RFC 3339."""
    phase: str = ""
    """The run's; empty without one. Of a run on a cluster that was stopped it is Failed."""
    spent: str = field(default="", compare=False)
    """Cost of the node that was made for the newest run; empty without one. It grows all the time,
    which is no change to report."""


def workspaces_table(rows: Iterable[WorkspaceRow]) -> RenderableType:
    """Build a table without borders.

    It has a column for the cost where nodes were made, and for phases where a run failed.
    """
    rows = list(rows)
    shows_spent = any(row.spent for row in rows)
    shows_phase = any(row.phase in _ENDED_BADLY for row in rows)
    further = [*([_SPENT] if shows_spent else []), *([_PHASE] if shows_phase else [])]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (*_COLUMNS, *further):
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.instance,
            str(row.resource_ready),
            str(row.inference_ready),
            str(row.workspace_ready),
            age(seconds_between(row.created, None, utc_now()) or 0),
            *([row.spent] if shows_spent else []),
            *([row.phase] if shows_phase else []),
        )
    return Fitting(table, drop=[each for each in _DROPPED if shows_spent or each != _SPENT])


def watch_table(screen: Console, rows: Callable[[], Sequence[WorkspaceRow]]) -> NoReturn:
    """Show the table repeatedly, until Ctrl-C; where it cannot be redrawn, after each change."""
    if screen.is_terminal:
        with Live(console=screen, auto_refresh=False) as live:
            while True:
                live.update(workspaces_table(rows()), refresh=True)
                time.sleep(_POLL_SECONDS)
    shown: Sequence[WorkspaceRow] | None = None
    while True:
        found = rows()
        if found != shown:
            screen.print(workspaces_table(found))
            shown = found
        time.sleep(_POLL_SECONDS)
