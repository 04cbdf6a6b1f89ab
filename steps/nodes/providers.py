"""The one list of the providers of nodes. Standard library only.

To add a provider, write its package beside `aks` (the same files), add its description and settings
here, add a file of machines in presets/skus, and register its part of the command line in
workflows/cli/providers/registry.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from argotune.steps.common.setting import Setting
from argotune.steps.nodes.aks.settings import AKS, AksCluster, AksSettings
from argotune.steps.nodes.description import ProviderDescription
from argotune.steps.nodes.karpenter.settings import KARPENTER, KarpenterSettings
from argotune.steps.nodes.provider import Provider

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
"""Providers whose nodes are made and deleted with runs."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings(AksCluster):
    """The cluster with the nodes of runs, for every provider that needs its name."""

    def findable_providers(self) -> list[str]:
        """List the providers whose nodes can be found: their cluster is named, or needs no name."""
        return [name for name in MAKING_NODES if PROVIDERS[name].names_cluster(self)]

    def cluster_problems(self) -> list[str]:
        """Say which values cannot name a cluster: the flag, its value, and what to do."""
        return [
            problem
            for name in self.findable_providers()
            for problem in PROVIDERS[name].cluster_problems(self)
        ]


@dataclass(frozen=True, kw_only=True)
class ProviderSettings(AksSettings, KarpenterSettings, ClusterSettings):
    """The settings of all providers; each reads its own."""


def provider_settings() -> tuple[Setting, ...]:
    """List the settings of all providers."""
    return tuple(row for each in PROVIDERS.values() for row in each.settings)


def cluster_settings() -> tuple[Setting, ...]:
    """List the settings that name the cluster with the nodes of runs."""
    names = {field.name.replace("_", "-") for field in fields(ClusterSettings)}
    return tuple(row for row in provider_settings() if row.name in names)


def load_provider(name: str, settings: ClusterSettings | None = None) -> Provider:
    """Load the provider of that name, for the cluster that the settings name."""
    module = importlib.import_module(f"{__package__}.{PROVIDERS[name].module}")
    made: Provider = module.provider(_whole(settings or ProviderSettings()))
    return made


def _whole(settings: ClusterSettings) -> ProviderSettings:
    if isinstance(settings, ProviderSettings):
        return settings
    return ProviderSettings(
        **{field.name: getattr(settings, field.name) for field in fields(ClusterSettings)}
    )
