"""argotune gc: nodes that runs left behind go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.where import connect

app = typer.Typer(add_completion=False)


class Maker(StrEnum):
    """Providers that make nodes."""

    aks = "aks"
    karpenter = "karpenter"


@app.command()
def gc(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of the runs; default: kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    provider: Annotated[
        Maker | None, typer.Option(help="Only what this one made; default: all that is set up.")
    ] = None,
    aks_cluster_id: Annotated[
        str | None,
        typer.Option(help="`az aks show --query id`; default: the one of `argotune install`."),
    ] = None,
    kept: Annotated[
        bool, typer.Option("--kept", help="Also what is kept for the namespace's next runs.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, and why.")
    ] = False,
) -> None:
    """Take away agent pools and NodeClaims of runs that are over, or whose time is.

    The installed CronWorkflow `gc` does the same every ten minutes.
    """
    if aks_cluster_id is not None:
        _check(aks_cluster_id)
    # It needs the Kubernetes client, which takes most of a second to import.
    from argotune.workflows.cli.remote import strays

    cluster = connect(namespace, context)
    strays.collect(
        cluster,
        provider=None if provider is None else provider.value,
        aks_cluster_id=aks_cluster_id,
        kept=kept,
        dry_run=dry_run,
    )


def _check(aks_cluster_id: str) -> None:
    try:
        ClusterId.parse(aks_cluster_id)
    except ValueError as error:
        raise InputError(f"--aks-cluster-id: {error}") from error
