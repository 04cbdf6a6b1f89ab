"""argotune evaluate: models beside each other on the same rows, on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from argotune.steps.plan.planning import OWN_SECTION, ROOT
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.evaluate import (
    Request,
    checks_of,
    evaluate_models,
    read_check_file,
    read_config,
)
from argotune.workflows.cli.show.results import Output, print_record
from argotune.workflows.cli.show.side_by_side import print_side_by_side
from argotune.workflows.workspace.input import absolute_url, data_url_problem

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
    twice = sorted({name for name in models if models.count(name) > 1})
    if twice:
        raise InputError([f"{name} is given twice; name each model once" for name in twice])
    urls = [absolute_url(text, Path.cwd()) for text in data]
    problems = [
        f"--data {text}: {problem}"
        for text, url in zip(data, urls, strict=True)
        if (problem := data_url_problem(url))
    ]
    if problems:
        raise InputError(problems)
    sections = read_config(config)
    given = (sections.get(OWN_SECTION) or {}).get("checks")
    if checks is not None and given:
        raise InputError(f"--checks {checks}: {config} has checks too; keep one of them")
    found = evaluate_models(
        home(),
        Request(
            names=models,
            urls=urls,
            config=sections,
            checks=read_check_file(checks)
            if checks is not None
            else checks_of(given or [], f"{config}: {ROOT}.{OWN_SECTION}.checks"),
            answers=answers,
            allow_cpu=allow_cpu,
        ),
        say=lambda text: print(f"{text} ...", file=sys.stderr),
    )
    if output is not None:
        print_record(msgspec.to_builtins(found), output)
    else:
        print_side_by_side(console(), found)
