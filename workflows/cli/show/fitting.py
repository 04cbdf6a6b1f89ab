"""Tables whose names stay whole on a narrow terminal, so that they can be copied.

Where a table has no room, whole columns are left out, in the order that the table states, and a
line below names them. Columns that wrap get narrower before that.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_LEAST_WRAPPED = 12
"""Width to which a column that wraps may shrink."""


class Fitting:
    """A table that leaves out columns where it has no room for all."""

    def __init__(self, table: Table, *, drop: Sequence[str]) -> None:
        """`drop` are the headers of the columns that may go, the first one first."""
        self._table = table
        self._drop = drop

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the columns that have room."""
        dropped = list[str]()
        table = self._table
        for header in self._drop:
            if _least(console, options, table) <= options.max_width:
                break
            dropped.append(header)
            table = _without(self._table, dropped)
        yield table
        if dropped and self._table.show_header:
            yield Text(f"without {', '.join(dropped)}, for which it is too narrow", style="dim")


def _without(table: Table, headers: Sequence[str]) -> Table:
    smaller = copy.copy(table)
    kept = (each for each in table.columns if str(each.header) not in headers)
    # A column pads its cells by its place.
    smaller.columns = [replace(each, _index=place) for place, each in enumerate(kept)]
    return smaller


def _least(console: Console, options: ConsoleOptions, table: Table) -> int:
    """Return the width without which names would be broken."""
    _, right, _, left = table.padding
    gap = max(right, left) if table.collapse_padding else right + left
    gaps = len(table.columns) - (not table.pad_edge)
    least = (_least_of(console, options, table, column) for column in table.columns)
    return gap * gaps + sum(least)


def _least_of(console: Console, options: ConsoleOptions, table: Table, column: Column) -> int:
    if column.width is not None:
        return column.width
    texts = [*([column.header] if table.show_header else []), *column.cells]
    cells = [Measurement.get(console, options, each) for each in texts]
    longest = max((each.maximum for each in cells), default=0)
    longest_word = max((each.minimum for each in cells), default=0)
    least = longest if column.no_wrap else min(_LEAST_WRAPPED, longest_word)
    return max(least, column.min_width or 0)
