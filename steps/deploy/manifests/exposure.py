"""The way to the service from outside the cluster: an Ingress, or a route of a Gateway."""

from __future__ import annotations

from argotune.steps.deploy.manifests.labels import Manifest, metadata
from argotune.steps.deploy.params import Params

_SERVICE_PORT = 80
_EXACT_PATHS = ("/",)
_PATH_PREFIXES = ("/card", "/chat", "/health", "/openapi.json", "/v1")
"""What clients need; /metrics, which needs no key, is for the cluster alone."""


def ingress(params: Params) -> Manifest:
    """The Ingress of the host, with TLS where the installation has a Secret for it."""
    backend = {"service": {"name": params.name, "port": {"number": _SERVICE_PORT}}}
    paths = [
        *({"path": path, "pathType": "Exact", "backend": backend} for path in _EXACT_PATHS),
        *({"path": path, "pathType": "Prefix", "backend": backend} for path in _PATH_PREFIXES),
    ]
    spec: Manifest = {
        "ingressClassName": params.ingress_class,
        "rules": [{"host": params.host, "http": {"paths": paths}}],
    }
    if params.tls_secret:
        spec["tls"] = [{"hosts": [params.host], "secretName": params.tls_secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(params),
        "spec": spec,
    }


def http_route(params: Params) -> Manifest:
    """The HTTPRoute of the host at the installation's Gateway, which has TLS itself."""
    namespace, _, name = params.gateway.rpartition("/")
    paths = [
        *({"path": {"type": "Exact", "value": path}} for path in _EXACT_PATHS),
        *({"path": {"type": "PathPrefix", "value": path}} for path in _PATH_PREFIXES),
    ]
    spec = {
        "parentRefs": [{"namespace": namespace or params.namespace, "name": name}],
        "hostnames": [params.host],
        "rules": [
            {"matches": paths, "backendRefs": [{"name": params.name, "port": _SERVICE_PORT}]}
        ],
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(params),
        "spec": spec,
    }
