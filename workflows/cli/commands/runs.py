"""argotune runs: all runs of this machine, with their size."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from argotune.workflows.cli.console import console
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.disk import Entry, entries, size
from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.rows import age, seconds_between, utc_now

app = typer.Typer(add_completion=False)


class Output(StrEnum):
    """The format of the list."""

    TABLE = "table"
    JSON = "json"


@app.command()
def runs(
    output: Annotated[
        Output, typer.Option("--output", "-o", help="A table, or sizes in bytes for programs.")
    ] = Output.TABLE,
) -> None:
    """List all runs of this machine, the newest first, with their size on disk.

    Runs of Argo Workflows that are no workspace's are among them.
    """
    found = entries(home())
    if output is Output.JSON:
        print(json.dumps([entry.record() for entry in found], indent=2, ensure_ascii=False))
        return
    if not found:
        print("no runs on this machine; `argotune run workspace.yaml` starts one")
        return
    console().print(Fitting(_table(found), drop=("WORKSPACE", "SIZE", "AGE")))
    total = sum(entry.size_bytes for entry in found)
    print(f"{size(total)} in all; argotune rm RUN... deletes runs, argotune rm --older-than 7d too")


def _table(found: list[Entry]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("RUN", "WORKSPACE", "PHASE"):
        table.add_column(column, no_wrap=True)
    for column in ("SIZE", "AGE"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in found:
        seconds = seconds_between(entry.created, None, utc_now())
        table.add_row(
            entry.name,
            entry.workspace,
            entry.phase,
            size(entry.size_bytes),
            "" if seconds is None else age(seconds),
        )
    return table
