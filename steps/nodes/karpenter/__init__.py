"""Provider karpenter: a NodeClaim of the run's own, or a node that an installed NodePool brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steps.nodes.provider import Provider, Settings


def provider(settings: Settings) -> Provider:
    """The provider for the cluster of this pod, or of the kubeconfig."""
    # Who only checks the name of a node class needs no client of Kubernetes.
    from steps.nodes.karpenter.provider import KarpenterProvider

    return KarpenterProvider(settings)
