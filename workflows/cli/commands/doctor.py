"""argotune doctor: check this machine or a cluster before a run depends on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.checks.all import examine
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import AreaFinding, Level
from argotune.workflows.cli.checks.opening import open_subject
from argotune.workflows.cli.checks.print import print_finding
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import RUN_FAILED
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.machine import examine_machine, examine_machine_for_service
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.cli.where import (
    PANEL,
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)
from argotune.workflows.workspace.planned import load, load_service
from argotune.workflows.workspace.read import is_about_inference

app = typer.Typer(add_completion=False)

_ARGO_NAMESPACE = "argo"


class Output(StrEnum):
    """The format of the findings."""

    TEXT = "text"
    JSON = "json"


@app.command()
def doctor(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Kaito Workspace, whose needs are looked for.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.TEXT,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
    push_secret: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=PANEL, help="Secret for the output image, in place of the file's."
        ),
    ] = None,
    pull_test: Annotated[
        Pull | None,
        typer.Option(
            rich_help_panel=PANEL,
            help="Images to pull by short-lived pods, and a trial run; default: small; all has tune"
            " and serve too, of several GiB.",
        ),
    ] = None,
    images_registry: Annotated[
        str | None,
        typer.Option(rich_help_panel=PANEL, help="Pull from there rather than as it is installed."),
    ] = None,
    images_tag: Annotated[
        str | None, typer.Option(rich_help_panel=PANEL, help="Likewise the tag.")
    ] = None,
    argo_namespace: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=PANEL,
            help="Where Argo's controller runs, if you may not look everywhere; default: argo.",
        ),
    ] = None,
) -> None:
    """Check this machine or a cluster before a run depends on it, and say what to do."""
    if pull_test is Pull.NONE:
        options.refuse(
            {"--images-registry": images_registry, "--images-tag": images_tag},
            "says what to pull, and --pull-test none pulls nothing",
        )
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None:
        of_cluster = {
            "--push-secret": push_secret,
            "--pull-test": pull_test,
            "--images-registry": images_registry,
            "--images-tag": images_tag,
            "--argo-namespace": argo_namespace,
        }
        options.refuse(of_cluster, "for a cluster; name a --namespace, or say --cluster")
        found = _examine_machine(files or [])
    else:
        subject = open_subject(
            files or [],
            cluster,
            push_secret=push_secret,
            pull=pull_test or Pull.SMALL,
            images_registry=images_registry,
            images_tag=images_tag,
            argo_namespace=argo_namespace or _ARGO_NAMESPACE,
        )
        found = examine(subject)
    told = _print_json(found) if output is Output.JSON else _print(found)
    if any(item.finding.level is Level.PROBLEM for item in told):
        raise typer.Exit(RUN_FAILED)


def _examine_machine(files: Sequence[Path]) -> Iterable[AreaFinding]:
    if not files:
        return examine_machine(home(), None)
    texts = read_texts(files)
    if is_about_inference(texts):
        service = load_service(texts, overrides={}, on_this_machine=True)
        return examine_machine_for_service(home(), service)
    planned = load(texts, overrides={}, allow_loopback=True, on_this_machine=True)
    return examine_machine(home(), planned)


def _print(found: Iterable[AreaFinding]) -> list[AreaFinding]:
    """Print each finding at once, under the heading of its area, and a count at the end."""
    out, told = console(), list[AreaFinding]()
    with out.status("looking"):
        for item in found:
            if not told or told[-1].area != item.area:
                out.print(item.area, style="bold")
            told.append(item)
            print_finding(out, item.finding)
    out.print(_count(told))
    return told


def _print_json(found: Iterable[AreaFinding]) -> list[AreaFinding]:
    told = list(found)
    rows = [{"area": item.area, **asdict(item.finding)} for item in told]
    print(json.dumps(rows, indent=2, ensure_ascii=False))
    return told


def _count(told: list[AreaFinding]) -> str:
    levels = [item.finding.level for item in told]
    return ", ".join(f"{levels.count(level)} {level}" for level in Level if level in levels)
