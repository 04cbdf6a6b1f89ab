"""Provider aks: agent pools of an AKS cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steps.nodes.provider import Provider, Settings


def provider(settings: Settings) -> Provider:
    """The provider for the cluster of the settings, with the identity of this environment."""
    # Who only checks an id of the cluster needs no client of Azure.
    from steps.cluster.kube import connect as connect_to_kubernetes
    from steps.nodes.aks.connect import connect
    from steps.nodes.aks.provider import AksProvider

    return AksProvider(settings, arm=lambda: connect(settings), kube=connect_to_kubernetes)
