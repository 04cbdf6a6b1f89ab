"""argotune evaluate: models beside each other on the same rows, on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from argotune.workflows.cli.console import console
from argotune.workflows.cli.evaluation_input import read_asked
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.evaluate import evaluate_models, this_machine
from argotune.workflows.cli.show.results import Output, print_record
from argotune.workflows.cli.show.side_by_side import print_side_by_side

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A preset, which is a base model; an adapter's image, REGISTRY/REPOSITORY:TAG or"
            " oci:DIRECTORY:TAG, without a tag the one in service; or a workspace of this machine,"
            " which means the adapter that it has in service. All of one base.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            metavar="URL|FILE",
            help="Rows to measure on, all of them; may be given several times.",
            show_default=False,
        ),
    ],
    checks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML list of checks, as Argotune.checks in a training config."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="training_config.yaml with the columns of the data, and with checks.",
        ),
    ] = None,
    answers: Annotated[int, typer.Option(help="Rows whose answers are shown.", min=0, max=100)] = 3,
    allow_cpu: Annotated[
        bool, typer.Option("--allow-cpu", help="Compute on the CPU what is meant for a GPU.")
    ] = False,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="All that was found, JSON or YAML.")
    ] = None,
) -> None:
    """Measure models on the same rows: losses, your checks, answers side by side.

    Nothing is deployed. The difference to the first model is given with its interval.
    """
    here = home()
    asked = read_asked(models, data, checks, config, this_machine(here))
    found = evaluate_models(
        here,
        asked,
        answers=answers,
        allow_cpu=allow_cpu,
        say=lambda text: print(f"{text} ...", file=sys.stderr),
    )
    if output is not None:
        print_record(msgspec.to_builtins(found), output)
    else:
        print_side_by_side(console(), found)
