"""What provision may see outside its namespace: nodes have none, and whoever has a GPU may be
anywhere. It is the only thing here that takes a cluster's administrator."""

from __future__ import annotations

from workflows.templates import accounts
from workflows.templates.manifest import Manifest, manifest
from workflows.templates.permissions import API_GROUP, API_VERSION, rule

NAME = "cluster-permissions"
NAMESPACE = "argotune"
NAMESPACE_LABEL = "argotune.dev/namespace"
"""Objects of the cluster name the namespace that they are for, so that two namespaces do not
share them."""

_RULES = [
    rule("", ["nodes"], ["list"]),
    # How many of a node's GPUs are taken.
    rule("", ["pods"], ["list"]),
]


def build() -> list[Manifest]:
    """The ClusterRole of provision and its binding, for one namespace; `argotune install` puts
    another in its place."""
    name = f"{accounts.PROVISION}-{NAMESPACE}"
    subject = {"kind": "ServiceAccount", "name": accounts.PROVISION, "namespace": NAMESPACE}
    objects = [
        manifest("ClusterRole", name, api_version=API_VERSION, rules=_RULES),
        manifest(
            "ClusterRoleBinding",
            name,
            api_version=API_VERSION,
            roleRef={"apiGroup": API_GROUP, "kind": "ClusterRole", "name": name},
            subjects=[subject],
        ),
    ]
    for item in objects:
        item["metadata"]["labels"][NAMESPACE_LABEL] = NAMESPACE
    return objects
