"""argotune rollback: an earlier adapter into service again."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local import rollback as local
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, login_of
from argotune.workflows.cli.remote import rollback as remote
from argotune.workflows.cli.remote import watching
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def rollback(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the workspace, which is its service's.", autocompletion=run_names
        ),
    ],
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="Such as v3; default: the one that was in service before.",
            show_default=False,
        ),
    ] = None,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Answer with an earlier version of an adapter again, without training.

    What is in service stays until the other one has answered. A schedule does not tune again for
    it: its next run does so when data, plan or weights change.
    """
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None:
        options.refuse(
            {"--auth-file": auth_file, "--ca-file": ca_file},
            "is for a cluster, whose version is looked up in its registry",
        )
        local.roll_back(home(), name, version)
        return
    run = remote.begin_rollback(cluster, name, version, login_of(auth_file, ca_file, cluster))
    if run is None:
        return
    print(f"workflow.argoproj.io/{run} created in namespace {cluster.namespace}", flush=True)
    watching.watch(cluster, run)
