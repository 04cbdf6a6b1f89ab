"""What runs left behind on a cluster, found with the rights of whoever asks."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.cluster.kube import Kube
from argotune.steps.nodes.karpenter.provider import KarpenterProvider
from argotune.steps.nodes.load import load_provider
from argotune.steps.nodes.provider import Provider
from argotune.steps.nodes.providers import ProviderSettings
from argotune.steps.nodes.runs import run_is_alive
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.extras import azure_needed
from argotune.workflows.cli.remote.cluster import Cluster, installed_parameter


def collect(
    cluster: Cluster,
    *,
    provider: str | None,
    aks_cluster_id: str | None,
    kept: bool,
    dry_run: bool,
) -> None:
    """Print what should not be there, and ask for its deletion unless it is a dry run; then what
    waits for the next run of its workspace, unless that goes too."""
    kube = Kube(cluster.api_client)
    is_alive = run_is_alive(kube, namespace=cluster.namespace)
    count = 0
    for chosen in _providers(cluster, kube, provider, aks_cluster_id):
        kept_of = cluster.namespace if kept else ""
        for stray in chosen.collect(is_alive, dry_run=dry_run, kept_of=kept_of):
            print(f"{stray}{' (dry run)' if dry_run else ''}")
            count += 1
        for each in chosen.kept():
            if each.workspace.partition("/")[0] != kept_of:
                print(f"kept for {each.workspace}: {each}")
                count += 1
    if not count:
        print("nothing: every node that was made for a run has its run, and none is kept")


def _providers(
    cluster: Cluster, kube: Kube, only: str | None, aks_cluster_id: str | None
) -> Iterator[Provider]:
    if only != "aks":
        yield KarpenterProvider(ProviderSettings(), connect=lambda: kube)
    if only == "karpenter":
        return
    cluster_id = aks_cluster_id or installed_parameter(cluster, "aks-cluster-id")
    if cluster_id:
        yield _aks(cluster_id)
    elif only == "aks":
        raise InputError(
            "--aks-cluster-id: missing, and `argotune install` was told none in namespace "
            f"{cluster.namespace}"
        )


def _aks(cluster_id: str) -> Provider:
    with azure_needed():
        return load_provider("aks", ProviderSettings(aks_cluster_id=cluster_id))
