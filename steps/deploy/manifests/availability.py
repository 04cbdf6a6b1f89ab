"""How many servers there are, and how many may be missing."""

from __future__ import annotations

from argotune.steps.deploy.manifests.labels import Manifest, metadata, selector
from argotune.steps.deploy.params import Params


def disruption_budget(params: Params) -> Manifest:
    """The PodDisruptionBudget: one pod at a time leaves its node.

    Of several replicas the others answer meanwhile. A single one may leave too, or no node with it
    could ever be drained; only a second replica makes a drain that nobody notices.
    """
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(params)},
        # A pod that cannot become ready must not keep its node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(params),
        "spec": spec,
    }
