"""What runs left behind on a cluster, found with the rights of whoever asks."""

from __future__ import annotations

from collections.abc import Iterator

from steps.common.kube import Kube
from steps.common.nodes.karpenter.provider import KarpenterProvider
from steps.common.nodes.provider import Provider, Settings, load_provider
from steps.common.nodes.runs import run_is_alive
from workflows.cli import manifests
from workflows.cli.cluster import Cluster
from workflows.cli.errors import CliError, InputError
from workflows.cli.install_settings import parameters_of


def collect(
    cluster: Cluster, *, provider: str | None, aks_cluster_id: str | None, dry_run: bool
) -> None:
    """Print what should not be there, and ask for its deletion unless it is a dry run."""
    kube = Kube(cluster.api_client)
    is_alive = run_is_alive(kube, namespace=cluster.namespace)
    count = 0
    for chosen in _providers(cluster, kube, provider, aks_cluster_id):
        for stray in chosen.collect(is_alive, dry_run=dry_run):
            print(f"{stray}{' (dry run)' if dry_run else ''}")
            count += 1
    if not count:
        print("nothing: every node that was made for a run has its run")


def _providers(
    cluster: Cluster, kube: Kube, only: str | None, aks_cluster_id: str | None
) -> Iterator[Provider]:
    if only != "aks":
        yield KarpenterProvider(Settings(), connect=lambda: kube)
    if only == "karpenter":
        return
    cluster_id = aks_cluster_id or _installed_cluster_id(cluster)
    if cluster_id:
        yield _aks(cluster_id)
    elif only == "aks":
        raise InputError(
            "--aks-cluster-id: missing, and `argotune install` was told none in namespace "
            f"{cluster.namespace}"
        )


def _installed_cluster_id(cluster: Cluster) -> str:
    template = cluster.get("WorkflowTemplate", manifests.NAME)
    parameter = parameters_of(template).get("aks-cluster-id") if template else None
    return str(parameter.get("value", "")) if parameter else ""


def _aks(cluster_id: str) -> Provider:
    try:
        return load_provider("aks", Settings(aks_cluster_id=cluster_id))
    except ModuleNotFoundError as error:
        raise CliError(
            f"provider aks needs {error.name}, of the extra `azure`: uv sync --extra azure, or"
            " pip install 'argotune[azure]'"
        ) from error
