"""argotune status: the workspaces of this machine or of a cluster, or one run whole."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local import status as local_status
from argotune.workflows.cli.remote import status as cluster_status
from argotune.workflows.cli.show.results import OutputOption
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def status(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a workspace, which means its newest run, of a run, or a schedule.",
            autocompletion=run_names,
        ),
    ] = None,
    output: OutputOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look on, until the run of that name has ended.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="Sum what the runs of the namespace spent on nodes that were made for them, by "
            "this label of the workspace files, such as team. Runs that were deleted are not "
            "in it.",
        ),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Show the workspaces of this machine or of a cluster, or the steps of one run."""
    if watch and output:
        raise InputError("--watch and --output: take one")
    if by is not None and (name or output or watch):
        raise InputError(f"--by {by}: sums all runs; leave out NAME, --output and --watch")
    cluster = chosen_cluster(namespace, context, on_cluster)
    if by is not None:
        if cluster is None:
            raise InputError(
                f"--by {by}: nodes are made for runs of a cluster only; name it by -n NAMESPACE, "
                "--context NAME or --cluster"
            )
        cluster_status.print_spent(cluster, by)
        return
    if cluster is None:
        here = home()
        if name is None:
            local_status.print_workspaces(here, output, watch=watch)
        elif watch:
            local_status.watch_run(here, name)
        else:
            local_status.print_run(here, name, output)
        return
    if name is None:
        cluster_status.print_workspaces(cluster, output, watch=watch)
    elif watch:
        cluster_status.watch_run(cluster, name)
    else:
        cluster_status.print_run(cluster, name, output)
