"""argotune doctor: check a cluster before a run depends on it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.checks.all import examine
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Level, Told
from argotune.workflows.cli.checks.opening import open_subject
from argotune.workflows.cli.checks.print import print_finding
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import RUN_FAILED

app = typer.Typer(add_completion=False)


class Output(StrEnum):
    """The format of the findings."""

    TEXT = "text"
    JSON = "json"


@app.command()
def doctor(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Kaito Workspace, whose secret, image, volumes and node are looked for.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: the file's, else kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    push_secret: Annotated[
        str | None, typer.Option(help="Secret for the output image, in place of the file's.")
    ] = None,
    pull_test: Annotated[
        Pull,
        typer.Option(
            help="Images to pull by short-lived pods, and a trial run: all has tune and serve too,"
            " of several GiB."
        ),
    ] = Pull.SMALL,
    images_registry: Annotated[
        str | None, typer.Option(help="Pull from there rather than as it is installed.")
    ] = None,
    images_tag: Annotated[str | None, typer.Option(help="Likewise the tag.")] = None,
    argo_namespace: Annotated[
        str, typer.Option(help="Where Argo's controller runs, if you may not look everywhere.")
    ] = "argo",
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.TEXT,
) -> None:
    """Check a cluster before a run depends on it, and say what to do."""
    if pull_test is Pull.NONE:
        options.refuse(
            {"--images-registry": images_registry, "--images-tag": images_tag},
            "says what to pull, and --pull-test none pulls nothing",
        )
    subject = open_subject(
        files or [],
        namespace=namespace,
        context=context,
        push_secret=push_secret,
        pull=pull_test,
        images_registry=images_registry,
        images_tag=images_tag,
        argo_namespace=argo_namespace,
    )
    told = _print_json(examine(subject)) if output is Output.JSON else _print(examine(subject))
    if any(item.finding.level is Level.PROBLEM for item in told):
        raise typer.Exit(RUN_FAILED)


def _print(found: Iterable[Told]) -> list[Told]:
    """Print each finding at once, under the heading of its area, and a count at the end."""
    out, told = console(), list[Told]()
    with out.status("looking"):
        for item in found:
            if not told or told[-1].area != item.area:
                out.print(item.area, style="bold")
            told.append(item)
            print_finding(out, item.finding)
    out.print(_count(told))
    return told


def _print_json(found: Iterable[Told]) -> list[Told]:
    told = list(found)
    rows = [{"area": item.area, **asdict(item.finding)} for item in told]
    print(json.dumps(rows, indent=2, ensure_ascii=False))
    return told


def _count(told: list[Told]) -> str:
    levels = [item.finding.level for item in told]
    return ", ".join(f"{levels.count(level)} {level}" for level in Level if level in levels)
