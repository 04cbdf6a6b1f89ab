"""argotune data: a look at the data of a workspace before it costs, or at those of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from argotune.steps.common.counted import counted
from argotune.steps.contracts.data_report import NAME as REPORT
from argotune.steps.contracts.data_report import PAGE, DataReport, parse_report
from argotune.steps.contracts.report import Files, collect
from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli import options
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, InputError, RunFailed
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.look import look_at_data
from argotune.workflows.cli.local.runs import find_run
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, Login, login_of
from argotune.workflows.cli.overrides import OF_VOLUMES, flags_of, with_overrides
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.report import report_of_run
from argotune.workflows.cli.remote.runs import run_named
from argotune.workflows.cli.show.data import print_data
from argotune.workflows.cli.show.plan_rows import sku_rows, what_hours_are_of
from argotune.workflows.cli.show.plan_tables import print_skus
from argotune.workflows.cli.show.results import Output, print_record
from argotune.workflows.cli.show.view import SilentView, view_for
from argotune.workflows.cli.show.workflow_json import name_of, step_output
from argotune.workflows.cli.texts import read_texts, write_file
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)
from argotune.workflows.workspace import planned as workspaces
from argotune.workflows.workspace.cost_limit import check_cost_limit
from argotune.workflows.workspace.model import provider_of
from argotune.workflows.workspace.node_request import request_of

app = typer.Typer(add_completion=False)

ROWS = 5
"""Rows that are shown, unless another number is asked for."""


@app.command()
@with_overrides(but={*OF_VOLUMES, "output-image"})
def data(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...|RUN",
            help="A Workspace with its ConfigMap: its data are read here. Or the name of a run or a"
            " workspace: what its dataset step found.",
            show_default=False,
        ),
    ],
    rows: Annotated[
        int | None,
        typer.Option(
            help="Rows to show with what is learned of them; by default 5.", min=0, max=100
        ),
    ] = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="The report as JSON or YAML.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Also write the report as a page there.")
    ] = None,
    substitute: options.Substitute = False,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
    *,
    overrides: Mapping[str, str],
) -> None:
    """Look at the data of a workspace: tokens, steps, cost, duplicates, secrets.

    Nothing is tuned. The data of a file are read here, without a cluster, and the next run here
    takes the downloads; what a run read is read from its report.
    """
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None and all(_is_file(each) for each in names):
        options.refuse(
            {"--auth-file": auth_file, "--ca-file": ca_file},
            "is for the report of a run of a cluster, which its registry has",
        )
        planned = workspaces.load(
            read_texts([Path(each) for each in names]),
            overrides=overrides,
            # The files of this machine are its user's.
            allow_loopback=True,
            files_are_here=True,
            substitute=substitute,
        )
        workspaces.print_warnings(planned)
        # What is found is the answer; how far the steps are is none, where it goes into a file.
        view = SilentView() if output else view_for(console(on_stderr=True))
        look = look_at_data(home(), planned, view, rows=ROWS if rows is None else rows)
        _show(look.report, look.page, output=output, page=page)
        if output is None:
            _print_costs(planned, look.report)
        if look.problem:
            raise RunFailed(look.problem)
        if look.report.tokens is not None:
            check_cost_limit(planned, dataset_tokens=look.report.tokens.train)
        return
    if len(names) != 1:
        missing = [each for each in names if not _is_file(each)]
        raise InputError([f"{each}: no such file; name files, or one run" for each in missing])
    flags = {**flags_of(overrides), "--substitute": substitute}
    options.refuse(flags, "is for the file of a workspace; a run's data were read as it was made")
    files = _files_of(names[0], login_of(auth_file, ca_file, cluster), cluster)
    report = parse_report(files[REPORT])
    if rows is not None:
        report = _cut_to(rows, report)
    _show(report, files.get(PAGE), output=output, page=page)


def _is_file(name: str) -> bool:
    """Whether it means a file, also one that is not there: no run has a name with a dot."""
    return name == "-" or "/" in name or "." in name or Path(name).is_file()


def _files_of(name: str, login: Login, cluster: Cluster | None) -> Files:
    """Return the report of a run, which has that of its data.

    Raises CliError where it has none, with what the dataset step said.
    """
    if cluster is None:
        files = collect(find_run(home(), name).directory / "claims" / "work")
        if REPORT not in files:
            raise CliError(f"run {name} has no report of its data; its dataset step writes it")
        return files
    run = run_named(cluster, name)
    said = "; ".join(
        filter(None, (step_output(run, "dataset", each) for each in ("summary", "findings")))
    )
    try:
        files = report_of_run(cluster, run, login)
    except CliError as error:
        told = f"; its dataset step says: {said}" if said else ""
        raise CliError(f"{error}{told}") from error
    if REPORT not in files:
        raise CliError(f"the report of run {name_of(run)} has none of its data, as it is older")
    return files


def _cut_to(rows: int, report: DataReport) -> DataReport:
    if rows > len(report.samples):
        kept = counted(len(report.samples), "row")
        print(f"warning: --rows {rows}: the report of a run has {kept}", file=sys.stderr)
    return msgspec.structs.replace(report, samples=report.samples[:rows])


def _show(
    report: DataReport, content: bytes | None, *, output: Output | None, page: Path | None
) -> None:
    if page is not None:
        if content is None:
            raise CliError(f"--page {page}: the report of this run has no page of its data")
        write_file(page, content)
    if output is not None:
        print_record(msgspec.to_builtins(report), output)
        return
    print_data(console(), report)
    if page is not None:
        print(f"written to {page}")


def _print_costs(planned: workspaces.Planned, report: DataReport) -> None:
    """Print what training on just these tokens takes on the machines that fit."""
    if not PROVIDERS[provider_of(planned.workspace.options)].is_on_cluster:
        return
    tokens = None if report.tokens is None else report.tokens.train
    skus = sku_rows(planned.params, dataset_tokens=tokens)
    if all(each.hours is None for each in skus):
        print("hours and cost: not known for a model so small")
        return
    print_skus(
        console(),
        skus,
        what_hours_are_of(planned.plan, dataset_tokens=tokens),
        planned.plan.method,
        alternatives=request_of(planned).instance_types[1:],
    )
