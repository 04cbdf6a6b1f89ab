"""Provider aks: agent pools of an AKS cluster."""

from __future__ import annotations

from steps.common.kube import connect as connect_to_kubernetes
from steps.common.nodes.aks.connect import connect
from steps.common.nodes.aks.provider import AksProvider
from steps.common.nodes.provider import Settings


def provider(settings: Settings) -> AksProvider:
    """The provider for the cluster of the settings, with the identity of this environment."""
    return AksProvider(settings, arm=lambda: connect(settings), kube=connect_to_kubernetes)
