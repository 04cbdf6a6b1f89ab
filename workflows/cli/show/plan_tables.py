"""Tables of a plan: its rows, and the GPU machines beside it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from argotune.presets.loader import sku_catalogs
from argotune.presets.schema import Method
from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.plan_rows import (
    Row,
    SkuRow,
    price_lines,
    several_gpus_line,
    speed_sources,
)

_DROPPED = ("GPUS", "TOKENS/S", "MEMORY", "USD/H", "HOURS", "USD")
"""What a narrow terminal leaves out first of the machines."""
_LEAST_NOTE = 16
"""Width of a note in which it can still be read."""


def print_rows(screen: Console, title: str, rows: Sequence[Row]) -> None:
    """Print a heading, and below it each row's name, value and note.

    On a narrow terminal they stand below each other.
    """
    screen.print(title, style="bold")
    if _has_room(screen, rows):
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        # Names of models and machines are values that a note explains; without notes it is text.
        table.add_column(no_wrap=any(row.note for row in rows))
        table.add_column(style="dim", overflow="fold")
        for row in rows:
            table.add_row(f"  {row.name}", row.value, row.note)
        screen.print(table)
    else:
        for row in rows:
            screen.print(f"  {row.name}")
            for text, style in ((row.value, ""), (row.note, "dim")):
                if text:
                    screen.print(Padding(Text(text, style=style), (0, 0, 0, 4)))
    screen.print()


def _has_room(screen: Console, rows: Sequence[Row]) -> bool:
    """Whether a row's name, value and note have room side by side."""
    name = max((len(row.name) for row in rows), default=0)
    value = max((len(row.value) for row in rows if row.note), default=0)
    return 2 + name + 2 + value + 2 + _LEAST_NOTE <= screen.width


def print_skus(
    screen: Console,
    rows: list[SkuRow],
    hours_of: str,
    method: Method,
    *,
    alternatives: Sequence[str],
) -> None:
    """Print the GPU machines with memory, speed, hours and cost, and where these are from.

    `hours_of` says what the hours count; `alternatives` are tried after the planned one.
    """
    clouds = {row.cloud for row in rows}
    catalogs = [each for each in sku_catalogs() if not clouds or each.cloud in clouds]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(" ", width=1)
    table.add_column("SKU", no_wrap=True)
    table.add_column("GPUS", no_wrap=True)
    for name in ("MEMORY", "TOKENS/S", "HOURS", "USD", "USD/H"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.fits:
            mark = "*" if row.chosen else "+" if row.name in alternatives else ""
            table.add_row(mark, *_cells(row))
    tried = ", + is tried where the cloud has none of it" if alternatives else ""
    of = " and ".join(each.cloud for each in catalogs)
    planned_for = (
        f"* is planned for{tried}"
        if any(row.chosen for row in rows)
        else ("none is planned for, as the file names no resource.instanceType")
    )
    screen.print(f"GPU machines of {of} that fit; {planned_for}", style="bold")
    screen.print(Fitting(table, drop=_DROPPED))
    speeds: tuple[str, ...] = (
        f"HOURS, USD: {hours_of}.",
        "TOKENS/S: a class, carried over by model size and bfloat16 rate: "
        f"{speed_sources(method)}. At most what the card's own rates allow.",
        *several_gpus_line(rows),
    )
    if all(row.tokens_per_second is None for row in rows):
        speeds = ("TOKENS/S, HOURS, USD: not known for a model so small.",)
    for line in (
        "MEMORY: of one GPU; what it has is used to keep activations instead of recomputing them.",
        *speeds,
        *price_lines(catalogs),
    ):
        screen.print(Text(line, style="dim"))
    screen.print()
    others = [Row(name=row.name, value=row.reason) for row in rows if not row.fits]
    if others:
        print_rows(screen, "GPU machines on which it cannot run", others)


def _cells(row: SkuRow) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.gpus} x {row.gpu_model} {row.gpu_memory_gib:g} GiB",
        f"{row.peak_gb:.1f} GB" if row.peak_gb else "-",
        _or_dash(row.tokens_per_second),
        _or_dash(row.hours),
        _or_dash(row.cost_usd),
        f"{row.price_usd_per_hour:.2f}" if row.price_usd_per_hour else "-",
    )


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
