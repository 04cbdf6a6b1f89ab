from __future__ import annotations

from argotune.workflows.cli.checks import network
from tests.fakes.api_server import ApiServer
from tests.workflows.cli.checks.cluster import look, manifest, messages, node


def test_engines_are_known_by_their_daemon_sets() -> None:
    cluster = ApiServer()
    for name in ("cilium", "azure-npm", "other"):
        cluster.put(manifest("apps/v1", "DaemonSet", name, namespace="kube-system"))
    assert messages(look(cluster, network.policy_engine)) == [
        "info: NetworkPolicies: Azure Network Policy Manager, Cilium is there, which enforces them"
    ]


def test_k3s_needs_none() -> None:
    cluster = ApiServer()
    cluster.put(node("one", kubelet="v1.34.1+k3s1"))
    assert messages(look(cluster, network.policy_engine)) == [
        "info: NetworkPolicies: k3s is there, which enforces them"
    ]


def test_no_engine_is_seen() -> None:
    cluster = ApiServer()
    cluster.put(node("one"))
    (found,) = look(cluster, network.policy_engine)
    assert found.message.startswith("NetworkPolicies: no engine that enforces them is seen; ")
