"""What provision and release may outside their namespace: nodes and Karpenter's objects have none,
and whoever has a GPU may be anywhere. It is the only thing here that takes a cluster's
administrator."""

from __future__ import annotations

from argotune.workflows.templates import accounts
from argotune.workflows.templates.manifest import Manifest, manifest
from argotune.workflows.templates.permissions import API_GROUP, API_VERSION, Rule, rule

NAME = "cluster-permissions"
NAMESPACE = "argotune"
NAMESPACE_LABEL = "argotune.dev/namespace"
"""Objects of the cluster name the namespace that they are for, so that two namespaces do not
share them."""

_KARPENTER = "karpenter.sh"
_RULES = {
    accounts.PROVISION: [
        rule("", ["nodes"], ["list"]),
        # How many of a node's GPUs are taken.
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
    """The ClusterRoles with their bindings, for one namespace; `argotune install` puts another in
    its place."""
    return [item for account, rules in _RULES.items() for item in _granted(account, rules)]


def _granted(account: str, rules: list[Rule]) -> list[Manifest]:
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
