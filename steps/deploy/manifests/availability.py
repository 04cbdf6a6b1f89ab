"""How many servers there are, and how many may be missing."""

from __future__ import annotations

from argotune.steps.contracts.served import WAITING_METRIC
from argotune.steps.deploy.manifests.labels import Manifest, metadata, selector
from argotune.steps.deploy.params import Params

_WAITING_PER_SERVER = "2"
"""More requests than these, on average of all servers, bring another server. What waits is not
answered yet, while one that answers as many as it can at once may be just as large as needed."""


def autoscaler(params: Params) -> Manifest:
    """The HorizontalPodAutoscaler on the requests that wait in the servers' queues.

    Kubernetes reads the metric from an adapter, such as prometheus-adapter; without one the number
    of servers stays as it is.
    """
    metric = {
        "metric": {"name": WAITING_METRIC},
        "target": {"type": "AverageValue", "averageValue": _WAITING_PER_SERVER},
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": params.name},
        "minReplicas": params.replicas or 1,
        "maxReplicas": params.max_replicas,
        "metrics": [{"type": "Pods", "pods": metric}],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(params),
        "spec": spec,
    }


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
