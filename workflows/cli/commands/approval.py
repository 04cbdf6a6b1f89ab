"""argotune approve, reject: the answer to a run that waits for its approval."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local import approval as local_approval
from argotune.workflows.cli.remote import approval as cluster_approval
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)

_Name = Annotated[
    str,
    typer.Argument(
        help="Name of a workspace, which means its run that waits, or of a run.",
        autocompletion=run_names,
    ),
]
_Reason = Annotated[str, typer.Option(metavar="TEXT", help="Kept with the answer.")]


@app.command()
def approve(
    name: _Name,
    reason: _Reason = "",
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Let a run that waits for its approval deploy its adapter."""
    _decide("approve", name, reason, namespace, context, on_cluster)


@app.command()
def reject(
    name: _Name,
    reason: _Reason = "",
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """End a run that waits for its approval; what is in service stays."""
    _decide("reject", name, reason, namespace, context, on_cluster)


def _decide(
    decision: str,
    name: str,
    reason: str,
    namespace: str | None,
    context: str | None,
    on_cluster: bool,
) -> None:
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None:
        print(local_approval.decide(home(), name, decision, reason))
    else:
        print(cluster_approval.decide(cluster, name, decision, reason))
