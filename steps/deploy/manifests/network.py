"""How requests reach the server: the Service, and who may connect to its pods."""

from __future__ import annotations

from argotune.steps.deploy.manifests.labels import Manifest, metadata, selector
from argotune.steps.deploy.params import Params

CLIENT_LABEL = "argotune.dev/client"
"""Namespaces with this label and value "true" may connect to services of other namespaces: those
of applications, of an ingress controller or gateway, and of Prometheus."""
PORT = 8080
"""The server's own; the Service has port 80."""
PORT_NAME = "http"


def service(params: Params) -> Manifest:
    """The ClusterIP service on port 80."""
    spec = {
        "type": "ClusterIP",
        "selector": selector(params),
        "ports": [{"name": PORT_NAME, "port": 80, "protocol": "TCP", "targetPort": PORT_NAME}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(params), "spec": spec}


def network_policy(params: Params) -> Manifest:
    """The NetworkPolicy of the server.

    Ingress is allowed from its own namespace and from namespaces with the client label; egress is
    denied. The kubelet's probes come from the node, which no policy keeps out.
    """
    clients = [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {CLIENT_LABEL: "true"}}},
    ]
    spec = {
        "podSelector": {"matchLabels": selector(params)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": clients, "ports": [{"protocol": "TCP", "port": PORT}]}],
        "egress": [],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(params),
        "spec": spec,
    }
