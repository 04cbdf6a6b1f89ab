"""argotune uninstall: delete what `argotune install` made, and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli.installation.applied import Applied
from argotune.workflows.cli.installation.uninstaller import Uninstaller
from argotune.workflows.cli.remote.cluster import Cluster

app = typer.Typer(add_completion=False)


@app.command()
def uninstall(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    delete_models: Annotated[
        bool,
        typer.Option(
            "--delete-models", help="Also the claim argotune-models with all its weights."
        ),
    ] = False,
    cluster_roles: Annotated[
        bool,
        typer.Option(help="Also the ClusterRole; it takes a cluster's administrator."),
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Although runs are active; they will fail.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be deleted.")
    ] = False,
) -> None:
    """Delete what `argotune install` made in a namespace.

    Runs, schedules, services, claims and what others made stay; the last line names them.
    """
    uninstaller = Uninstaller(
        applied=Applied(cluster=Cluster(context=context, namespace=namespace)),
        dry_run=dry_run,
        force=force,
        delete_models=delete_models,
        cluster_roles=cluster_roles,
    )
    uninstaller.uninstall()
