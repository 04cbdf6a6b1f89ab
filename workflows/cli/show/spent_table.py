"""What the runs of a namespace spent on nodes that were made for them, by a label of theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.spending import Spending, spending_of
from argotune.workflows.cli.show.workflow_json import Workflow

_WITHOUT_LABEL = "-"


@dataclass(frozen=True, kw_only=True)
class SpentRow:
    """The runs with one value of the label."""

    value: str
    runs: int
    spendings: Sequence[Spending]
    """Of those for which nodes were made."""

    @property
    def hours(self) -> float:
        """Of all their nodes."""
        return sum(each.hours for each in self.spendings)

    @property
    def spent(self) -> str:
        """The amount; beside it the hours whose price nobody knows."""
        costs = [each.cost_usd for each in self.spendings if each.cost_usd is not None]
        bound = "<= " if any(each.is_spot for each in self.spendings) else ""
        amount = f"{bound}{sum(costs):.2f} USD"
        unpriced = sum(each.hours for each in self.spendings if each.cost_usd is None)
        return f"{amount} and {unpriced:.2f} h without a price" if unpriced else amount


def spent_rows(runs: Iterable[Workflow], label: str, now: datetime) -> list[SpentRow]:
    """One row for each value of the label, those with most hours first; runs without it last."""
    by_value: dict[str, list[Workflow]] = defaultdict(list)
    for run in runs:
        by_value[(run["metadata"].get("labels") or {}).get(label, "")].append(run)
    rows = [_row(value, found, now) for value, found in by_value.items()]
    return sorted(rows, key=lambda row: (row.value == _WITHOUT_LABEL, -row.hours, row.value))


def spent_table(rows: Iterable[SpentRow], label: str) -> RenderableType:
    """The rows as a table without borders."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (label.upper(), "RUNS", "NODE HOURS", "SPENT"):
        table.add_column(Text(column), no_wrap=True)
    for row in rows:
        table.add_row(Text(row.value), str(row.runs), f"{row.hours:.2f}", row.spent)
    return Fitting(table, drop=("RUNS", "NODE HOURS"))


def _row(value: str, runs: Sequence[Workflow], now: datetime) -> SpentRow:
    found = [spending for run in runs if (spending := spending_of(run, now)) is not None]
    return SpentRow(value=value or _WITHOUT_LABEL, runs=len(runs), spendings=found)
