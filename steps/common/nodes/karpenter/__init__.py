"""Provider karpenter: a NodeClaim of the run's own, or a node that an installed NodePool brings."""

from __future__ import annotations

from steps.common.nodes.karpenter.provider import KarpenterProvider
from steps.common.nodes.provider import Settings


def provider(settings: Settings) -> KarpenterProvider:
    """The provider for the cluster of this pod, or of the kubeconfig."""
    return KarpenterProvider(settings)
