"""The rights of the operator's account are those of its requests: none too few and none too many.

That none is missing is looked at after every test of this folder (conftest.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kubernetes import client, config
from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord

from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.workflows.operator.election import Election
from argotune.workflows.operator.queue import WorkQueue
from argotune.workflows.operator.seen import Seen
from argotune.workflows.operator.watching import Watcher, fill, registry_of
from tests.fakes.kube import Cluster
from tests.workflows.operator.acting import NAME, NAMESPACE, Acting
from tests.workflows.operator.granted import (
    IN_ALL,
    IN_NAMESPACE,
    OF_CLUSTER,
    OF_LEASE,
    OF_POLICY,
    used,
)
from tests.workflows.operator.test_reconcile import WITH_TOKEN
from tests.workflows.operator.test_requests import awaiting, serve
from tests.workflows.templates.rights import Right

_CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "my-config", "namespace": NAMESPACE},
    "data": {"training_config.yaml": "training_config: {}\n"},
}


def watched() -> set[Right]:
    """What kopf lists and watches for the operator's handlers."""
    queue = WorkQueue(lambda key, *, whole: None, workers=0, done=str)
    registry = registry_of(Watcher(Seen(), queue))
    selectors = registry._watching.get_all_selectors()
    return {
        (str(each.group or ""), str(each.any_name), verb)
        for each in selectors
        for verb in ("list", "watch")
    }


def live(acting: Acting, cluster: Cluster) -> None:
    """Let a Workspace live from its creation to its end, with all that one may ask for."""
    cluster.put(_CONFIG_MAP)
    name = awaiting(acting)
    acting.annotate(approve=name, schedule="@daily")
    acting.look()
    # Without an instance type the GPUs of the cluster's nodes are asked for.
    acting.apply({**WITH_TOKEN, "tuning/config": "my-config", "resource/instanceType": None})
    for schedule in ("@daily", "@weekly", None):
        acting.annotate(schedule=schedule)
        acting.look()
    serve(cluster)
    acting.annotate(rollback="v1")
    acting.look()
    for run in acting.runs:
        acting.play(run["metadata"]["name"], phase="Succeeded")
    labels = {"argotune.dev/service": NAME}
    for kind in SERVICE_KINDS:
        if kind != "Deployment":
            metadata = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
            cluster.put({"kind": kind, "metadata": metadata, "spec": {}})
    acting.delete()
    acting.look()
    assert cluster.of_kind("Workspace") == cluster.of_kind("Deployment") == []


def elect(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the Lease, and give it back."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": cluster.url}}],
                "users": [{"name": "it", "user": {}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            }
        )
    )
    # The client reads KUBECONFIG when it is imported, and keeps its login for the process.
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.setattr(client.Configuration, "_default", None)
    election = Election(NAMESPACE, identity="pod-1")
    now = "2026-11-29 00:00:00.000000"
    record = LeaderElectionRecord("pod-1", 15, now, now)
    assert election._lock.create("argotune-operator", NAMESPACE, record)
    election.resign()
    (lease,) = cluster.of_kind("Lease")
    assert lease["spec"]["holderIdentity"] == ""


def test_every_right_is_used(
    acting: Acting, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    live(acting, cluster)
    fill(Seen(), acting.kube, NAMESPACE)
    asked = used(cluster.requests) | watched()
    assert asked == (IN_ALL | OF_CLUSTER) - OF_POLICY
    del cluster.requests[:]
    elect(cluster, monkeypatch, tmp_path)
    assert used(cluster.requests) == OF_LEASE
    assert IN_NAMESPACE == IN_ALL | OF_LEASE
