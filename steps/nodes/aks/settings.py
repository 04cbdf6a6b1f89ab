"""Settings of provider aks, and their problems. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from argotune.steps.common.setting import setting, settings_of
from argotune.steps.common.values import ValueType, reads
from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.steps.nodes.description import NodeNeeds, ProviderDescription

_RESOURCE_ID = re.compile(r"/subscriptions/[\w.()/-]+", re.ASCII)
_CLUSTER_ID = ValueType(
    accepted="what `az aks show --query id` prints", check=reads(ClusterId.parse)
)
_AZURE_ID = ValueType(
    accepted="an Azure resource ID, /subscriptions/...",
    check=lambda text: _RESOURCE_ID.fullmatch(text) is not None,
)


@dataclass(frozen=True, kw_only=True)
class AksCluster:
    """The cluster with the agent pools of runs, which `release` and `gc` need as well."""

    aks_cluster_id: str = setting(
        "",
        value=_CLUSTER_ID,
        default_meaning="the one of `argotune install`",
        decided_by="installer",
    )
    """Azure resource ID of the cluster, as `az aks show --query id` prints it."""


@dataclass(frozen=True, kw_only=True)
class AksSettings(AksCluster):
    """Properties of the agent pools."""

    aks_location: str = ""
    """Azure region for the check of quota and SKUs; empty: the region of the cluster's nodes."""
    aks_subnet_id: str = setting(
        "", value=_AZURE_ID, default_meaning="as the cluster does it", decided_by="installer"
    )
    """Azure resource ID of the node's subnet."""
    aks_os_sku: Literal["Ubuntu", "AzureLinux"] = setting("Ubuntu")
    """Operating system of an AKS node."""
    aks_gpu_driver: Literal["Install", "None"] = setting("Install")
    """Install: AKS installs NVIDIA's driver; None: something else does, such as the GPU
    operator."""
    aks_mig_profile: Literal["", "MIG1g", "MIG2g", "MIG3g", "MIG4g", "MIG7g"] = setting(
        "", default_meaning="whole GPUs"
    )
    """MIG profile by which each GPU is cut into instances."""


def _cluster_problems(settings: AksCluster) -> Iterator[str]:
    try:
        ClusterId.parse(settings.aks_cluster_id)
    except ValueError as error:
        yield f"--aks-cluster-id: {error}"


def _problems(settings: AksSettings, needs: NodeNeeds) -> Iterator[str]:
    yield from _cluster_problems(settings)
    if not needs.disk_gib:
        yield "--disk-gib: 0; provider aks needs the size of the OS disk, see plan's output"
    if not needs.instance_types():
        yield "--instance-type: empty; provider aks needs a SKU, see `argotune plan`"


AKS = ProviderDescription(
    name="aks",
    summary="an agent pool of AKS that is made for the run",
    module="aks.provider",
    makes_nodes=True,
    settings=(
        *settings_of(AksCluster, provider="aks", steps=("provision", "watch", "release")),
        *settings_of(AksSettings, provider="aks", steps=("provision", "watch")),
    ),
    needed_setting="aks-cluster-id",
    problems=_problems,
    cluster_problems=_cluster_problems,
    names_cluster=lambda settings: bool(settings.aks_cluster_id),
    node_is_of_run=lambda settings: True,
)
