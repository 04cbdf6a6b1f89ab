"""Which providers of nodes there are: the one list. Standard library only.

To add one, write its package beside `aks` (the same files), name its description and settings
here, give it a file of machines in presets/skus, and name what the command line knows of it in
workflows/cli/providers/registry.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from argotune.steps.common.setting import Setting
from argotune.steps.nodes.aks.settings import AKS, AksCluster, AksSettings
from argotune.steps.nodes.description import ProviderDescription
from argotune.steps.nodes.karpenter.settings import KARPENTER, KarpenterSettings

ProviderName = Literal["existing", "aks", "karpenter", "local"]

_LOCAL = ProviderDescription(
    name="local", summary="this machine, without a cluster", module="local", is_on_cluster=False
)
_EXISTING = ProviderDescription(
    name="existing",
    summary="nodes of the cluster that match the label selector",
    module="existing",
)
PROVIDERS: Mapping[str, ProviderDescription] = {
    each.name: each for each in (_EXISTING, AKS, KARPENTER, _LOCAL)
}
MAKING_NODES = tuple(name for name, each in PROVIDERS.items() if each.makes_nodes)
"""Providers whose nodes come and go with runs."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings(AksCluster):
    """What says in which cluster the nodes of runs are, by every provider that needs telling."""

    def findable_providers(self) -> list[str]:
        """Those whose nodes can be found: whose cluster is named, or needs no name."""
        return [name for name in MAKING_NODES if PROVIDERS[name].is_told_where(self)]

    def cluster_problems(self) -> list[str]:
        """What cannot name a cluster: the flag, its value, and what to do."""
        return [
            problem
            for name in self.findable_providers()
            for problem in PROVIDERS[name].cluster_problems(self)
        ]


@dataclass(frozen=True, kw_only=True)
class ProviderSettings(AksSettings, KarpenterSettings, ClusterSettings):
    """What the providers must know besides the request; each reads what is its own."""


def provider_settings() -> tuple[Setting, ...]:
    """The rows of all providers' settings."""
    return tuple(row for each in PROVIDERS.values() for row in each.settings)


def cluster_settings() -> tuple[Setting, ...]:
    """The rows that say in which cluster the nodes of runs are."""
    names = {field.name.replace("_", "-") for field in fields(ClusterSettings)}
    return tuple(row for row in provider_settings() if row.name in names)
