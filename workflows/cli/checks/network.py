"""Whether something enforces NetworkPolicies.

Kubernetes does not say, but the pods of known engines are seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.cluster.errors import MissingRight
from argotune.workflows.cli.checks.finding import Finding, info
from argotune.workflows.cli.checks.subject import Subject

_ENGINES = {
    "anetd": "GKE Dataplane V2",
    "antrea-agent": "Antrea",
    "azure-npm": "Azure Network Policy Manager",
    "calico-node": "Calico",
    "canal": "Canal",
    "cilium": "Cilium",
    "kube-router": "kube-router",
    "ovnkube-node": "OVN-Kubernetes",
    "weave-net": "Weave Net",
}
"""Name of the DaemonSet -> its engine."""
_BUILT_IN = {"+k3s": "k3s", "+rke2": "RKE2"}
"""Part of the kubelet's version -> the engine that runs without pods of its own."""


def policy_engine(subject: Subject) -> Iterator[Finding]:
    """Check which engine is present, if one is known."""
    names = {item["metadata"]["name"] for item in subject.daemon_sets}
    found = sorted(_ENGINES[name] for name in names & _ENGINES.keys()) or _built_in(subject)
    if found:
        yield info(f"NetworkPolicies: {', '.join(found)} is there, which enforces them")
        return
    yield info(
        "NetworkPolicies: no engine that enforces them is seen; without one runs and services "
        "can be reached from every pod, and runs can reach everything",
        "have your network's documentation say whether it enforces them",
    )


def _built_in(subject: Subject) -> list[str]:
    try:
        nodes = subject.nodes
    except MissingRight:
        return []
    versions = [node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes]
    return sorted(
        name for mark, name in _BUILT_IN.items() if any(mark in version for version in versions)
    )
