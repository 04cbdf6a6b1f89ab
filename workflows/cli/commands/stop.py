"""argotune stop: end a run or a service of this machine or of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local import stop as local_stop
from argotune.workflows.cli.remote import stop as cluster_stop
from argotune.workflows.cli.where import (
    PANEL,
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)

_TIMEOUT_SECONDS = 600.0


@app.command()
def stop(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of workspaces, each meaning its newest run, or of runs.",
            metavar="[NAME]...",
            autocompletion=run_names,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every run of the namespace; here, every run and service."),
    ] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
    terminate: Annotated[
        bool,
        typer.Option(
            "--terminate", rich_help_panel=PANEL, help="End at once, without the exit handler."
        ),
    ] = False,
    service: Annotated[
        bool,
        typer.Option("--service", rich_help_panel=PANEL, help="Remove the workspace's service."),
    ] = False,
    timeout_seconds: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=PANEL,
            help=f"Longest wait for the ends; default: {_TIMEOUT_SECONDS:g}.",
            min=0,
        ),
    ] = None,
) -> None:
    """Stop the run of a workspace; on this machine its service too.

    On this machine a stopped run can be resumed; on a cluster `argo retry` goes on with it.
    """
    if not everything and not names:
        raise InputError("name a workspace or a run, or say --all")
    if everything and names:
        raise InputError(f"{' '.join(names)} and --all: take one; --all stops every run")
    if everything and service:
        raise InputError("--all and --service: take one; name the workspaces whose services go")
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None:
        flags = {
            "--terminate": terminate,
            "--service": service,
            "--timeout-seconds": timeout_seconds is not None,
        }
        options.refuse(flags, "for a cluster; name a --namespace")
        local_stop.stop(home(), names or [], everything=everything)
        return
    cluster_stop.stop(
        cluster,
        names or [],
        everything=everything,
        terminate=terminate,
        service=service,
        timeout_seconds=_TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds,
    )
