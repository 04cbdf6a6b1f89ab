"""The output about a run at its end, and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from argotune.steps.common import strict_yaml
from argotune.workflows.cli.show.rows import last_line, utc_now
from argotune.workflows.cli.show.spending import kept_node_of, spending_of
from argotune.workflows.cli.show.workflow_json import Workflow, name_of, outputs_of, phase_of

_SUCCEEDED = "Succeeded"


class Output(StrEnum):
    """The format of a record."""

    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    Output | None, typer.Option("--output", "-o", help="Print the whole Workflow object.")
]


def print_record(record: object, output: Output) -> None:
    """Print the record as JSON or YAML, for programs."""
    if output is Output.JSON:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print(strict_yaml.dump(record), end="")


def print_results(screen: Console, workflow: Workflow, advice: Sequence[str]) -> None:
    """Print phase and outputs of an ended run, and the cost of its node.

    For a failed run, also print why it failed, and what to do.
    """
    phase = phase_of(workflow)
    message = workflow["status"].get("message")
    screen.print(f"\n{name_of(workflow)}: {phase}", style="bold")
    if phase != _SUCCEEDED and message:
        screen.print(last_line(message), soft_wrap=True)
    for key, value in outputs_of(workflow).items():
        if value:
            screen.print(f"{key + ':':<12} {value}", soft_wrap=True)
    kept = kept_node_of(workflow, utc_now())
    if kept:
        screen.print(f"{'kept:':<12} {kept}", soft_wrap=True)
    spending = spending_of(workflow, utc_now())
    if spending is not None:
        screen.print(f"{spending.label + ':':<12} {spending}", soft_wrap=True)
    if phase != _SUCCEEDED:
        for line in advice:
            screen.print(line, soft_wrap=True)
