"""The output about a run at its end, and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from argotune.steps.common import strict_yaml
from argotune.workflows.cli.errors import INTERRUPTED, RUN_FAILED
from argotune.workflows.cli.show.approval import approval_of
from argotune.workflows.cli.show.rows import NOT_TRIED_AGAIN, last_line, utc_now
from argotune.workflows.cli.show.spending import kept_node_of, spending_of
from argotune.workflows.cli.show.workflow_json import (
    Workflow,
    message_of,
    name_of,
    outputs_of,
    phase_of,
    shown_phase,
    was_stopped,
)

_SUCCEEDED = "Succeeded"
_OUTCOME = "outcome"
"""Output of a run whose adapter was rejected: what stays in service."""


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


def phase_and_reason(workflow: Workflow) -> str:
    """Return the run's phase for a person, and why it has it where that is news."""
    message = _message_of(workflow)
    if outcome := outputs_of(workflow).get(_OUTCOME):
        return f"{shown_phase(workflow)}, {outcome}"
    if not message or was_stopped(workflow):
        return shown_phase(workflow)
    return f"{shown_phase(workflow)}: {message}"


def _message_of(workflow: Workflow) -> str:
    """Return Argo's message in one line; empty where a step says more."""
    message = last_line(message_of(workflow))
    return "" if message == NOT_TRIED_AGAIN else message


def exit_code_of(workflow: Workflow) -> int:
    """Return the exit code of a command that showed the run to its end."""
    if phase_of(workflow) == _SUCCEEDED:
        return 0
    return INTERRUPTED if was_stopped(workflow) else RUN_FAILED


def print_results(screen: Console, workflow: Workflow, advice: Sequence[str]) -> None:
    """Print phase and outputs of an ended run, and the cost of its node.

    For a failed run, also print why it failed, and what to do; for a stopped one, what to do.
    """
    phase = shown_phase(workflow)
    message = _message_of(workflow)
    outcome = outputs_of(workflow).get(_OUTCOME)
    shown = f"{phase}, {outcome}" if outcome else phase
    screen.print(f"\n{name_of(workflow)}: {shown}", style="bold")
    if phase != _SUCCEEDED and message and not was_stopped(workflow):
        screen.print(message, soft_wrap=True)
    for key, value in outputs_of(workflow).items():
        if value:
            screen.print(f"{key + ':':<12} {value}", soft_wrap=True)
    asked = approval_of(workflow)
    if asked is not None and asked.is_rejected:
        screen.print(f"{'outcome:':<12} kept what is in service: {asked.answer}", soft_wrap=True)
    kept = kept_node_of(workflow, utc_now())
    if kept:
        screen.print(f"{'kept:':<12} {kept}", soft_wrap=True)
    spending = spending_of(workflow, utc_now())
    if spending is not None:
        screen.print(f"{spending.label + ':':<12} {spending}", soft_wrap=True)
    if phase != _SUCCEEDED:
        for line in advice:
            screen.print(line, soft_wrap=True)
