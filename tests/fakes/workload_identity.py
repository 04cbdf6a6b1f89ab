"""Azure's workload-identity webhook, as far as a pod sees it: the real API server asks it about
pods with the label azure.workload.identity/use.

It gives the pod what the real one does: the projected token and AZURE_* variables, by the client
ID in its account's annotation. Beside it, what an administrator of a sovereign cloud sets: where
Resource Manager is, and whom to trust.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.fakes.listening import listening
from tests.fakes.tls import server_context

Object = dict[str, Any]

TENANT_ID = "11111111-2222-3333-4444-555555555555"
USE_LABEL = "azure.workload.identity/use"
CLIENT_ID_ANNOTATION = "azure.workload.identity/client-id"
CA_KEY = "tls.crt"
_AUDIENCE = "api://AzureADTokenExchange"
_TOKEN_DIR, _TOKEN = "/var/run/secrets/azure/tokens", "azure-identity-token"
_CA_DIR = "/var/run/secrets/fake-azure"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What pods are told."""

    cloud_url: str
    """Of Resource Manager and of the authority."""
    ca_config_map: str
    """ConfigMap of the pods' namespace with the cloud's certificate under CA_KEY."""
    client_id_of: Callable[[str], str]
    """The annotation of an account; empty where it has none."""


@contextmanager
def webhook(
    identity: Identity, *, host: str, certificate: Path, key: Path, name: str, selector: Object
) -> Iterator[Object]:
    """Serve it; gives the MutatingWebhookConfiguration, whose selectors are those of the pods."""
    with listening(
        _Handler, address=(host, 0), tls=server_context(certificate, key), identity=identity
    ) as port:
        yield {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": "workload-identity.argotune.dev",
                    "clientConfig": {
                        "url": f"https://{host}:{port}/mutate-v1-pod",
                        "caBundle": base64.b64encode(certificate.read_bytes()).decode(),
                    },
                    "rules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["pods"],
                        }
                    ],
                    **selector,
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "timeoutSeconds": 10,
                }
            ],
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    identity: Identity

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        spec = _with_identity(review["request"]["object"]["spec"], self.identity)
        patch = json.dumps([{"op": "replace", "path": "/spec", "value": spec}]).encode()
        response = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(patch).decode(),
        }
        body = json.dumps({**review, "request": None, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _with_identity(spec: Object, identity: Identity) -> Object:
    variables = {
        "AZURE_CLIENT_ID": identity.client_id_of(spec.get("serviceAccountName", "default")),
        "AZURE_TENANT_ID": TENANT_ID,
        "AZURE_FEDERATED_TOKEN_FILE": f"{_TOKEN_DIR}/{_TOKEN}",
        "AZURE_AUTHORITY_HOST": identity.cloud_url,
        "ARGOTUNE_ARM_ENDPOINT": identity.cloud_url,
        "REQUESTS_CA_BUNDLE": f"{_CA_DIR}/{CA_KEY}",
    }
    token = {"audience": _AUDIENCE, "expirationSeconds": 3600, "path": _TOKEN}
    volumes = [
        {"name": _TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "fake-azure-ca", "configMap": {"name": identity.ca_config_map}},
    ]
    mounts = [
        {"name": _TOKEN, "mountPath": _TOKEN_DIR, "readOnly": True},
        {"name": "fake-azure-ca", "mountPath": _CA_DIR, "readOnly": True},
    ]
    env = [{"name": name, "value": value} for name, value in variables.items()]
    containers = [
        {
            **container,
            "env": [*container.get("env", []), *env],
            "volumeMounts": [*container.get("volumeMounts", []), *mounts],
        }
        for container in spec["containers"]
    ]
    return {**spec, "containers": containers, "volumes": [*spec.get("volumes", []), *volumes]}
