"""A run while it runs: a table that is redrawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.pace import Pace
from argotune.workflows.cli.show.rows import StepRow, step_rows, utc_now

_MARKS = {
    "Succeeded": ("✔", "green"),
    "Failed": ("✖", "red"),
    "Error": ("✖", "red"),
    "Skipped": ("○", "dim"),
    "Omitted": ("○", "dim"),
    "Pending": ("◷", "yellow"),
    "Retrying": ("◷", "yellow"),
    "Suspended": ("‖", "yellow"),
    "Stopped": ("■", "yellow"),
}
_FAILED = ("Failed", "Error")
_WAITING = ("Pending", "Retrying", "Suspended")
_BAR_COLUMNS = 24
_BAR, _TIME = "bar", "time"
"""Columns without a heading, which a narrow terminal leaves out."""


class View(Protocol):
    """Shows a run; entered when it starts, left when it ends."""

    def __enter__(self) -> View: ...

    def __exit__(self, *exception: object) -> None: ...

    def update(self, workflow: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> None:
        """Show the changed record of the run; `reasons` is step -> why it waits."""

    def note(self, step: str, text: str) -> None:
        """Show a few words at the step while it runs, in place of those before."""

    def say(self, text: str) -> None:
        """Show a line that stays."""


def view_for(console: Console) -> View:
    """Return the moving table on a terminal, else plain lines."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class SilentView:
    """Shows nothing."""

    def __enter__(self) -> SilentView:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, workflow: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> None:
        """Show nothing."""

    def note(self, step: str, text: str) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Print the line on stderr, since stdout is for the record."""
        print(text, file=sys.stderr)


class PlainView:
    """One line when a step starts, ends, waits for another reason, or has advanced ten percent."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, tuple[str, int]] = {}
        """Step's id -> what was last printed about it."""

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, workflow: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> None:
        """Print a line for each step with news."""
        for row in step_rows(workflow, utc_now(), reasons):
            reason = row.message if row.phase == "Running" else ""
            state, tenths = f"{row.phase} {row.attempts} {reason}", _tenths(row)
            seen_state, seen_tenths = self._seen.get(row.id, ("", 0))
            if state == seen_state and tenths <= seen_tenths:
                continue
            if row.phase == "Pending" and not row.message:
                continue
            self._seen[row.id] = (state, tenths)
            self._console.print(_line(row), soft_wrap=True)

    def note(self, step: str, text: str) -> None:
        """Show nothing: notes change with each step of a training, and each would be a line."""

    def say(self, text: str) -> None:
        """Print the line."""
        self._console.print(text, soft_wrap=True)


class LiveView:
    """The table of steps with bars; lines printed above it stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._workflow: Mapping[str, Any] = {}
        self._reasons: Mapping[str, str] = {}
        self._notes: dict[str, str] = {}
        """Step -> a few words about it."""
        self._paces: dict[str, Pace] = {}
        self._spinners: dict[str, Spinner] = {}
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._render, transient=False
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def update(self, workflow: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> None:
        """Redraw the table."""
        self._workflow = workflow
        self._reasons = reasons or {}

    def note(self, step: str, text: str) -> None:
        """Show a few words in the step's row while it runs."""
        self._notes[step] = text

    def say(self, text: str) -> None:
        """Print the line above the table."""
        self._console.print(text, soft_wrap=True)

    def _render(self) -> RenderableType:
        rows = step_rows(self._workflow, utc_now(), self._reasons)
        table = steps_table([self._with_outlook(row) for row in rows], self._mark)
        # The terminal writes ^C after the last line, which would break a full line.
        return Constrain(table, self._console.width - len("^C"))

    def _with_outlook(self, row: StepRow) -> StepRow:
        """Return a running step with its note and the time that it still takes."""
        if row.phase != "Running":
            return row
        left = self._paces.setdefault(row.id, Pace()).seconds_left(row, time.monotonic())
        outlook = "" if left is None else f"{_clock(left)} left"
        said = ", ".join(filter(None, [row.message, self._notes.get(row.name, ""), outlook]))
        return replace(row, message=said)

    def _mark(self, row: StepRow) -> RenderableType:
        if row.phase == "Running":
            return self._spinners.setdefault(row.id, Spinner("dots", style="cyan"))
        return mark(row)


def mark(row: StepRow) -> RenderableType:
    """Return the sign of a phase."""
    sign, style = _MARKS.get(row.phase, ("…", "cyan"))
    return Text(sign, style=style)


def steps_table(
    rows: list[StepRow], marked: Callable[[StepRow], RenderableType] = mark
) -> RenderableType:
    """Build the steps as a table without borders."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=1)
    table.add_column(min_width=10, no_wrap=True)
    table.add_column(_BAR, width=_BAR_COLUMNS)
    table.add_column(_TIME, justify="right", min_width=5)
    table.add_column(overflow="fold")
    for row in rows:
        time = "" if row.seconds is None else _clock(row.seconds)
        # A Text, because rich reads brackets in a str as markup.
        note = Text(_note(row), style="red" if row.phase in _FAILED else "dim")
        table.add_row(marked(row), Text(row.name), _bar(row), time, note)
    return Fitting(table, drop=(_BAR, _TIME))


def _bar(row: StepRow) -> RenderableType:
    if row.phase == "Succeeded":
        return _progress_bar(1, 1)
    if row.phase != "Running":
        return Text(row.phase.lower(), style="dim")
    return _progress_bar(row.done, row.total) if row.total > 1 else _progress_bar(0, None)


def _progress_bar(done: int, total: int | None) -> ProgressBar:
    """Build a bar; without a total a light moves through it.

    Rich's own colour for the rest is red.
    """
    return ProgressBar(
        total=total,
        completed=done,
        width=_BAR_COLUMNS,
        complete_style="cyan",
        finished_style="green",
        pulse_style="cyan",
    )


def _note(row: StepRow) -> str:
    number = f"try {row.attempts}" if row.attempts > 1 or row.phase == "Retrying" else ""
    return ": ".join(filter(None, [number, row.message]))


def _line(row: StepRow) -> str:
    time = "" if row.seconds is None or row.phase in _WAITING else _clock(row.seconds)
    if row.phase == "Running":
        time = f"{_share(row)} {time}" if row.total > 1 else ""
    said = " ".join(filter(None, [f"{row.name:<10}", row.phase.lower(), time]))
    return "  ".join(filter(None, [said, _note(row)]))


def _share(row: StepRow) -> str:
    """Format the share of units: steps are counted; bytes are too many to read."""
    return f"{row.done}/{row.total}" if row.total < 10_000 else f"{100 * row.done // row.total}%"


def _tenths(row: StepRow) -> int:
    return 10 * row.done // row.total if row.total > 1 and row.phase == "Running" else 0


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f}s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes}m{int(seconds % 60):02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"
