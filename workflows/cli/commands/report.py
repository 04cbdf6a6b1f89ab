"""argotune report: what a run left, also when its volume and pods are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argotune.steps.contracts.measured import NodeUse
from argotune.steps.contracts.report import Files, collect
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import find_run
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, Login, login_of
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.report import (
    evaluations_of_image,
    report_of_image,
    report_of_run,
    where_kept,
)
from argotune.workflows.cli.remote.runs import run_named
from argotune.workflows.cli.show.approval import approval_of
from argotune.workflows.cli.show.report import print_report
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.show.spending import spending_of
from argotune.workflows.cli.show.workflow_json import Workflow, name_of
from argotune.workflows.cli.texts import write_file
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def report(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|IMAGE",
            autocompletion=run_names,
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
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Show what a run left: data, losses, plan, answers; the files with --to."""
    cluster = chosen_cluster(namespace, context, on_cluster)
    login = login_of(auth_file, ca_file, cluster)
    files, run = _load(name, login, cluster)
    asked = approval_of(run) if run is not None else None
    print_report(
        console(),
        files,
        run=_title(run) if run is not None else "",
        node=_node_use(run) if run is not None else None,
        answer=asked.answer if asked is not None else "",
    )
    if "/" in name:
        _print_evaluations(name, login)
    elif run is not None and (kept := where_kept(run)):
        print(kept)
    if to is not None:
        _write(files, to)
        print(f"written to {to}")


def _load(name: str, login: Login, cluster: Cluster | None) -> tuple[Files, Workflow | None]:
    """Read the report, and the run where its Workflow is still there.

    What became of the run after push is only at its Workflow: its whole cost, who answered.
    """
    if "/" in name:
        return report_of_image(name, login), None
    if cluster is not None:
        found = run_named(cluster, name)
        return report_of_run(cluster, found, login), found
    run = find_run(home(), name)
    files = collect(run.directory / "claims" / "work")
    if not files:
        raise CliError(f"run {run.name} has written no report")
    return files, run.workflow


def _print_evaluations(image: str, login: Login) -> None:
    for each in evaluations_of_image(image, login):
        print(f"an evaluation of it: argotune report {each}")


def _title(run: Workflow) -> str:
    return f"{name_of(run)}, {run['metadata'].get('creationTimestamp', '')}".removesuffix(", ")


def _node_use(run: Workflow) -> NodeUse | None:
    spent = spending_of(run, utc_now())
    if spent is None:
        return None
    return NodeUse(hours=spent.hours, cost_usd=spent.cost_usd, is_upper_bound=spent.is_spot)


def _write(files: Files, directory: Path) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
