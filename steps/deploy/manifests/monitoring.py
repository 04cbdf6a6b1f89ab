"""What has Prometheus read the server's metrics."""

from __future__ import annotations

from argotune.steps.deploy.manifests.labels import Manifest, metadata, selector
from argotune.steps.deploy.manifests.network import PORT_NAME
from argotune.steps.deploy.params import Params
from argotune.steps.nodes.labels import labels_in


def service_monitor(params: Params) -> Manifest:
    """The ServiceMonitor of Prometheus' operator, with the labels by which that one selects it."""
    described = metadata(params)
    described["labels"] |= labels_in(params.monitor_labels)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": described,
        "spec": {
            "selector": {"matchLabels": selector(params)},
            "endpoints": [{"port": PORT_NAME, "path": "/metrics"}],
        },
    }
