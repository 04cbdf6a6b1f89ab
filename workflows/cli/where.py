"""The runs that a command is about: those of this machine, or of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.remote.cluster import Cluster

PANEL = "On a cluster; without any of these, this machine"

NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", rich_help_panel=PANEL, help="A namespace of it.")
]
ContextOption = Annotated[
    str | None, typer.Option("--context", rich_help_panel=PANEL, help="Context of the kubeconfig.")
]
ClusterOption = Annotated[
    bool,
    typer.Option(
        "--cluster", rich_help_panel=PANEL, help="The kubeconfig's current context and namespace."
    ),
]


def chosen_cluster(namespace: str | None, context: str | None, on_cluster: bool) -> Cluster | None:
    """Return the cluster that the flags choose; None is this machine.

    Raises InputError where they choose two, or a value is empty.
    """
    if on_cluster:
        options.refuse(
            {"--namespace": namespace, "--context": context},
            "chooses the cluster by itself; leave out --cluster, which takes the current one",
        )
    if namespace is None and context is None and not on_cluster:
        return None
    return connect(namespace, context)


def connect(namespace: str | None, context: str | None) -> Cluster:
    """Connect with the cluster of the kubeconfig."""
    return Cluster(context=context, namespace=namespace)
