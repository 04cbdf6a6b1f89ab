"""argotune report: what a run left, also when its volume and pods are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argotune.steps.contracts.report import Files, collect
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import find_run
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.report import Login, report_of_image, report_of_run
from argotune.workflows.cli.remote.runs import run_named
from argotune.workflows.cli.show.report import print_report
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)

_REGISTRY = "The registry that has the report"


@app.command()
def report(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|IMAGE",
            help="Name of a workspace or a run, or an adapter's image, REGISTRY/REPOSITORY:TAG.",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIRECTORY",
            help="Also write its files there: metrics, curves, answers, plan, logs.",
        ),
    ] = None,
    auth_file: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_REGISTRY, help="Docker config.json; default: this user's login."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_REGISTRY, help="Its private certificate authority, PEM."),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Show what a run left: data, losses, evaluations, answers; the files with --to."""
    for flag, path in (("--auth-file", auth_file), ("--ca-file", ca_file)):
        if path is not None and not path.is_file():
            raise InputError(f"{flag} {path}: no such file")
    login = Login(auth_file=auth_file, ca_file=ca_file)
    files = _files(name, login, chosen_cluster(namespace, context, on_cluster))
    print_report(console(), files)
    if to is not None:
        _write(files, to)
        print(f"written to {to}")


def _files(name: str, login: Login, cluster: Cluster | None) -> Files:
    if "/" in name:
        return report_of_image(name, login)
    if cluster is not None:
        return report_of_run(cluster, run_named(cluster, name), login)
    run = find_run(home(), name)
    files = collect(run.directory / "claims" / "work")
    if not files:
        raise CliError(f"run {run.name} has written no report")
    return files


def _write(files: Files, directory: Path) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
