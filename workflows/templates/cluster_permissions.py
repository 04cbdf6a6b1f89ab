"""The rights of provision and release outside their namespace.

Nodes and Karpenter's objects have no namespace, and the pods that hold GPUs may be in any. Only
these objects need a cluster's administrator.
"""

from __future__ import annotations

from argotune.workflows.templates import accounts
from argotune.workflows.templates.manifest import Manifest, manifest
from argotune.workflows.templates.permissions import API_GROUP, API_VERSION, Rule, rule

NAME = "cluster-permissions"
NAMESPACE = "argotune"
NAMESPACE_LABEL = "argotune.dev/namespace"
"""Names the namespace that an object of the cluster is for, so that two namespaces do not share
it."""

_KARPENTER = "karpenter.sh"
_RULES = {
    accounts.PROVISION: [
        rule("", ["nodes"], ["list"]),
        # How many of a node's GPUs are allocated.
        rule("", ["pods"], ["list"]),
        rule(_KARPENTER, ["nodeclaims"], ["get", "list", "create", "patch", "delete"]),
        rule(_KARPENTER, ["nodepools"], ["list"]),
        # Why Karpenter refused: the events of objects without a namespace are in `default`.
        rule("", ["events"], ["list"]),
    ],
    accounts.RELEASE: [
        # Whether the node is gone, and which pods it still waits for.
        rule("", ["nodes", "pods"], ["list"]),
        rule(_KARPENTER, ["nodeclaims"], ["list", "patch", "delete"]),
    ],
}


def build() -> list[Manifest]:
    """Build the ClusterRoles with their bindings, for one namespace.

    `argotune install` replaces the namespace.
    """
    return [item for account, rules in _RULES.items() for item in _grant(account, rules)]


def _grant(account: str, rules: list[Rule]) -> list[Manifest]:
    name = f"{account}-{NAMESPACE}"
    subject = {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
    objects = [
        manifest("ClusterRole", name, api_version=API_VERSION, rules=rules),
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
