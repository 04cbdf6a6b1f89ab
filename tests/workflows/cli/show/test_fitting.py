"""Tables on terminals of any width: names stay whole, and what is left out is named."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from argotune.workflows.cli.show.plan_rows import Row
from argotune.workflows.cli.show.plan_tables import print_rows
from argotune.workflows.cli.show.rows import StepRow
from argotune.workflows.cli.show.view import steps_table
from argotune.workflows.cli.show.workspace_table import WorkspaceRow, workspaces_table

NAME, INSTANCE = "customer-answers-of-the-north", "Standard_NC24ads_A100_v4"
ROW = WorkspaceRow(
    name=NAME,
    instance=INSTANCE,
    resource_ready=True,
    inference_ready=True,
    workspace_ready=True,
    created="2026-01-01T00:00:00Z",
)


def screen(columns: int) -> Console:
    return Console(file=io.StringIO(), width=columns)


def shown(columns: int, what: RenderableType) -> list[str]:
    console = screen(columns)
    console.print(what)
    return lines_of(console)


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line for line in lines if len(line) > console.width] == []
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("columns", "headers", "without"),
    [
        (120, "NAME INSTANCE RESOURCEREADY INFERENCEREADY WORKSPACEREADY AGE", ""),
        (100, "NAME INSTANCE INFERENCEREADY WORKSPACEREADY AGE", "RESOURCEREADY"),
        (80, "NAME INSTANCE WORKSPACEREADY AGE", "RESOURCEREADY, INFERENCEREADY"),
        (50, "NAME WORKSPACEREADY", "RESOURCEREADY, INFERENCEREADY, AGE, INSTANCE"),
    ],
)
def test_columns_go_in_their_order_and_are_named(columns: int, headers: str, without: str) -> None:
    head, row, *last = shown(columns, workspaces_table([ROW]))
    assert head.split() == headers.split()
    assert row.split()[0] == NAME
    assert ("INSTANCE" in headers) == (INSTANCE in row)
    said = " ".join(last)
    assert said == (f"without {without}, for which it is too narrow" if without else "")


def test_the_steps_of_a_run_stand_without_bars_on_a_narrow_terminal() -> None:
    step = StepRow(
        id="1",
        name="a-step-of-somebody-elses",
        phase="Running",
        done=1,
        total=2,
        seconds=9.0,
        attempts=1,
        message="waits for a GPU",
    )
    assert "━" in "".join(shown(80, steps_table([step])))
    narrow = shown(40, steps_table([step]))
    assert "a-step-of-somebody-elses" in narrow[0]
    assert "━" not in "".join(narrow)
    assert "waits for" in narrow[0]


def test_values_of_a_plan_stand_below_their_names_on_a_narrow_terminal() -> None:
    rows = [
        Row(name="model", value="microsoft/Phi-3-mini-4k-instruct", note="0a67737cc96d"),
        Row(name="warning", value="few", note="the run has only three steps, which teach little"),
    ]
    console = screen(40)
    print_rows(console, "Plan", rows)
    assert lines_of(console) == [
        "Plan",
        "  model",
        "    microsoft/Phi-3-mini-4k-instruct",
        "    0a67737cc96d",
        "  warning",
        "    few",
        "    the run has only three steps, which",
        "    teach little",
        "",
    ]
