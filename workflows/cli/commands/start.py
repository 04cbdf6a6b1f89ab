"""argotune start: start a service again, without training."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local import start as local_start
from argotune.workflows.cli.remote import watching
from argotune.workflows.cli.remote.rollback import begin_start
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def start(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a workspace; here also of a run, which means that run's adapter.",
            autocompletion=run_names,
        ),
    ],
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Start a service again that was stopped or lost, without training.

    On a cluster it is one that was scaled to 0 replicas, by a Workflow of one step.
    """
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None:
        local_start.start(home(), name)
        return
    run = begin_start(cluster, name)
    if run is not None:
        print(f"workflow.argoproj.io/{run} created in namespace {cluster.namespace}", flush=True)
        watching.watch(cluster, run)
