"""argotune schedule, schedules, pause, resume, trigger, unschedule: tuning again by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.completion import schedule_names
from argotune.workflows.cli.console import console
from argotune.workflows.cli.overrides import with_overrides
from argotune.workflows.cli.remote import schedules as remote
from argotune.workflows.cli.remote.applied import annotate_applied
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.submission import plan_for_cluster
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.show.schedules import Schedule, schedules_table
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.cli.where import connect
from argotune.workflows.workspace.operator_annotations import SUSPEND
from argotune.workflows.workspace.schedule import DEFAULT_TIMEZONE, with_time_problems

app = typer.Typer(add_completion=False)

_Name = Annotated[
    str,
    typer.Argument(help="Name of a workspace, or of its schedule.", autocompletion=schedule_names),
]
_Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: kubectl's current one.")
]
_Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]


@app.command()
@with_overrides()
def schedule(
    files: options.Files,
    times: Annotated[
        list[str],
        typer.Option(
            "--cron",
            metavar="CRON",
            help='When, e.g. "0 3 * * 1"; may be given several times.',
            show_default=False,
        ),
    ],
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="Of --cron, e.g. Europe/Berlin.")
    ] = DEFAULT_TIMEZONE,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: the file's, else kubectl's current one."),
    ] = None,
    context: _Context = None,
    substitute: options.Substitute = False,
    *,
    overrides: Mapping[str, str],
) -> None:
    """Tune a workspace again at given times, when data, plan or weights have changed.

    It makes the CronWorkflow of the workspace, or changes the one that is there.
    """
    cluster = connect(namespace, context)
    with with_time_problems(times, timezone):
        planned = plan_for_cluster(cluster, read_texts(files), overrides, substitute=substitute)
    cluster = cluster.within(planned.workspace.namespace)
    made, was_there = remote.make_schedule(
        cluster,
        planned.workspace,
        times=times,
        timezone=timezone,
        volume_size=planned.volume_size,
    )
    _print_changed(cluster, made, "configured" if was_there else "created")


@app.command()
def schedules(namespace: _Namespace = None, context: _Context = None) -> None:
    """Show a namespace's schedules: times, last and next run, and obstacles."""
    cluster = connect(namespace, context)
    found = remote.find_schedules(cluster)
    if found:
        console().print(schedules_table(found, utc_now()))
        return
    cluster.check_namespace()
    print(
        f"no schedules in namespace {cluster.namespace};"
        f' `argotune schedule workspace.yaml --cron "0 3 * * 1" {cluster.flags}` makes one'
    )


@app.command()
def pause(name: _Name, namespace: _Namespace = None, context: _Context = None) -> None:
    """Pause a schedule: it begins no runs until it is resumed. One that goes on is not stopped.

    Of a Workspace that was applied with kubectl, by its name, the run waits too.
    """
    cluster = connect(namespace, context)
    if annotate_applied(cluster, name, {SUSPEND: "true"}):
        print(f"workspace.kaito.sh/{name} suspended in namespace {cluster.namespace}")
        print(
            "the operator begins no run of it, has the one that goes on wait, pauses its schedule"
        )
        return
    _print_changed(cluster, remote.pause(cluster, name), "paused")


@app.command()
def resume(name: _Name, namespace: _Namespace = None, context: _Context = None) -> None:
    """Resume a paused schedule. The runs that it missed are not made up for."""
    cluster = connect(namespace, context)
    if annotate_applied(cluster, name, {SUSPEND: None}):
        print(f"workspace.kaito.sh/{name} resumed in namespace {cluster.namespace}")
        return
    _print_changed(cluster, remote.resume(cluster, name), "resumed")


@app.command()
def trigger(name: _Name, namespace: _Namespace = None, context: _Context = None) -> None:
    """Begin a run of a schedule now, even if it is paused.

    It ends after the step dataset where nothing has changed, as at the schedule's own times.
    """
    cluster = connect(namespace, context)
    run = remote.trigger(cluster, name)
    print(f"workflow.argoproj.io/{run} created in namespace {cluster.namespace}")
    print(f"watch it: argotune status {run} {cluster.flags} --watch")


@app.command()
def unschedule(name: _Name, namespace: _Namespace = None, context: _Context = None) -> None:
    """Delete a schedule, and with it the records of its ended runs.

    What is deployed stays.
    """
    cluster = connect(namespace, context)
    full_name, runs = remote.unschedule(cluster, name)
    _print_change(cluster, full_name, "deleted")
    if runs:
        print(f"the records of its ended runs are deleted with it: {runs}")


def _print_changed(cluster: Cluster, changed: Schedule, what: str) -> None:
    _print_change(cluster, changed.name, what)
    print(changed)


def _print_change(cluster: Cluster, name: str, what: str) -> None:
    print(f"cronworkflow.argoproj.io/{name} {what} in namespace {cluster.namespace}")
