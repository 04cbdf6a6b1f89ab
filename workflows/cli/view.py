"""A run while it runs: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from workflows.cli.rows import StepRow, step_rows, utc_now

_MARKS = {
    "Succeeded": ("✔", "green"),
    "Failed": ("✖", "red"),
    "Error": ("✖", "red"),
    "Skipped": ("○", "dim"),
    "Omitted": ("○", "dim"),
    "Pending": ("◷", "yellow"),
}


class View(Protocol):
    """Shows a run; entered when it starts, left when it ends."""

    def __enter__(self) -> View: ...

    def __exit__(self, *exception: object) -> None: ...

    def changed(self, workflow: Mapping[str, Any]) -> None:
        """The run's record has changed."""


def view_for(console: Console) -> View:
    """The moving table on a terminal, else plain lines."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class SilentView:
    """Shows nothing."""

    def __enter__(self) -> SilentView:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def changed(self, workflow: Mapping[str, Any]) -> None:
        pass


class PlainView:
    """One line when a step starts, ends, or has got ten percent further."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, tuple[str, int]] = {}

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def changed(self, workflow: Mapping[str, Any]) -> None:
        for row in step_rows(workflow, utc_now()):
            now = (f"{row.phase} {row.attempts}", _tenths(row))
            before = self._seen.get(row.name, ("", 0))
            if now == before or row.phase == "Pending":
                continue
            self._seen[row.name] = now
            self._console.print(_line(row), highlight=False, markup=False, soft_wrap=True)


class LiveView:
    """The table of steps with bars; what was printed above it stays."""

    def __init__(self, console: Console) -> None:
        self._rows: list[StepRow] = []
        self._workflow: Mapping[str, Any] = {}
        self._spinners: dict[str, Spinner] = {}
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._render, transient=False
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def changed(self, workflow: Mapping[str, Any]) -> None:
        self._workflow = workflow

    def _render(self) -> RenderableType:
        rows = step_rows(self._workflow, utc_now())
        return Group(steps_table(rows, self._mark))

    def _mark(self, row: StepRow) -> RenderableType:
        if row.phase == "Running":
            return self._spinners.setdefault(row.name, Spinner("dots", style="cyan"))
        return mark(row)


def steps_table(rows: list[StepRow], marked: Any = None) -> Table:
    """The steps as a table without borders."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=1)
    table.add_column(min_width=10)
    table.add_column(width=24)
    table.add_column(justify="right", min_width=5)
    table.add_column(overflow="fold", style="dim")
    for row in rows:
        table.add_row(
            (marked or mark)(row),
            row.name,
            _bar(row),
            ""
            if row.seconds is None or row.phase in ("Skipped", "Omitted")
            else _clock(row.seconds),
            _note(row),
        )
    return table


def mark(row: StepRow) -> Text:
    """The phase as one sign."""
    sign, style = _MARKS.get(row.phase, ("…", "cyan"))
    return Text(sign, style=style)


def _bar(row: StepRow) -> RenderableType:
    if row.phase == "Succeeded":
        return ProgressBar(total=1, completed=1, width=24)
    if row.total:
        return ProgressBar(total=row.total, completed=row.done, width=24)
    if row.phase == "Running":
        return ProgressBar(total=None, pulse=True, width=24)
    return Text(row.phase.lower(), style="dim")


def _note(row: StepRow) -> str:
    tries = f"try {row.attempts}. " if row.attempts > 1 else ""
    return f"{tries}{row.message}".strip()


def _line(row: StepRow) -> str:
    time = "" if row.seconds is None else f" {_clock(row.seconds)}"
    note = f"  {_note(row)}" if _note(row) else ""
    if row.phase == "Running":
        step = f" {_share(row)}" if row.total > 1 else ""
        return f"{row.name:<10} running{step}{time if step else ''}{note}"
    return f"{row.name:<10} {row.phase.lower()}{time}{note}"


def _share(row: StepRow) -> str:
    """Steps are counted; bytes are too many to read."""
    return f"{row.done}/{row.total}" if row.total < 10_000 else f"{100 * row.done // row.total}%"


def _tenths(row: StepRow) -> int:
    return 10 * row.done // row.total if row.total and row.phase == "Running" else 0


def _clock(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds < 120 else f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
