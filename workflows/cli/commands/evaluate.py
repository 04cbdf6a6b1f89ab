"""argotune evaluate: models beside each other on the same rows, here or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from argotune.steps.contracts.side_by_side import SideBySide
from argotune.workflows.cli import options
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.evaluation_input import read_asked
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.evaluate import evaluate_models, this_machine
from argotune.workflows.cli.remote import watching
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.evaluate import (
    begin_evaluation,
    found_by,
    namespace_of,
    read_evaluation_settings,
)
from argotune.workflows.cli.remote.report import where_kept
from argotune.workflows.cli.show.results import Output, exit_code_of, print_record
from argotune.workflows.cli.show.side_by_side import print_side_by_side, side_by_side_page
from argotune.workflows.cli.texts import write_file
from argotune.workflows.cli.where import (
    PANEL,
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

Given = tuple[list[str], list[str], Path | None, Path | None]
"""Models, data, file of checks and file of a training config."""

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A preset, also one of your own, or hub:OWNER/NAME, which are base models; an"
            " adapter's image, REGISTRY/REPOSITORY:TAG or oci:DIRECTORY:TAG, without a tag the"
            " one in service; or a workspace, which means the adapter that it has in service, or"
            " NAME:vN, a version of one. All of one base.",
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
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write it as a page of one file."),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            "--watch",
            "-w",
            rich_help_panel=PANEL,
            help="Show the steps until the end, and then what was found.",
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            rich_help_panel=PANEL,
            metavar="NAME=VALUE",
            help="A setting of the Workflow, such as provider=aks; may be given several times.",
        ),
    ] = None,
) -> None:
    """Measure models on the same rows: losses, your checks, answers side by side.

    Nothing is deployed. The difference to the first model is given with its interval. With a
    namespace it is a Workflow there.
    """
    given = (models, data, checks, config)
    if html is not None and not html.absolute().parent.is_dir():
        raise InputError(f"--html {html}: there is no directory {html.parent}")
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is not None:
        options.refuse({"--output": output}, "for this machine; `argotune report` writes files")
        if not wait:
            options.refuse({"--html": html}, "nothing is found yet; add --wait")
        run = _begin(cluster, given, settings or [], answers=answers, allow_cpu=allow_cpu)
        if wait:
            _follow(cluster, run, html)
        print(f"watch it: argotune status {run} {cluster.flags} --watch")
        print(f"then what was found: argotune report {run} {cluster.flags}")
        return
    options.refuse({"--wait": wait, "--set": settings}, "for a cluster; name a namespace by -n")
    here = home()
    found = evaluate_models(
        here,
        read_asked(*given, this_machine(here)),
        answers=answers,
        allow_cpu=allow_cpu,
        say=lambda text: print(f"{text} ...", file=sys.stderr),
    )
    if output is not None:
        print_record(msgspec.to_builtins(found), output)
    else:
        print_side_by_side(console(), found)
    _write_page(found, html)


def _begin(
    cluster: Cluster, given: Given, pairs: Sequence[str], *, answers: int, allow_cpu: bool
) -> str:
    """Create the Workflow, and return its name."""
    settings, problems = read_evaluation_settings(pairs, allow_cpu=allow_cpu)
    asked = read_asked(*given, namespace_of(cluster), problems)
    run = begin_evaluation(cluster, asked, settings, answers=answers)
    print(f"workflow.argoproj.io/{run} created in namespace {cluster.namespace}", flush=True)
    return run


def _follow(cluster: Cluster, run: str, html: Path | None) -> NoReturn:
    seconds = watching.PULL_TIMEOUT_SECONDS
    ended = watching.follow(cluster, run, pull_timeout_seconds=seconds)
    found = found_by(ended)
    if found is not None:
        print()
        print_side_by_side(console(), found)
        print(where_kept(ended))
        _write_page(found, html)
    raise typer.Exit(exit_code_of(ended))


def _write_page(found: SideBySide, html: Path | None) -> None:
    if html is not None:
        write_file(html, side_by_side_page(found).encode())
        print(f"written to {html}", file=sys.stderr)
