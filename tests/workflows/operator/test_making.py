"""The planning of Workspaces by several workers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.operator.making import plan
from tests.fakes.kube import Cluster as Api
from tests.workflows.operator.acting import NAMESPACE, Acting

_MEETING_SECONDS = 0.2
"""So long one waits in the midst of its plan for another."""


class Meeting(Cluster):
    """A cluster in which plans wait for each other."""

    barrier: threading.Barrier
    has_met = False

    def find_config_map(self, namespace: str | None, name: str, key: str) -> str | None:
        try:
            self.barrier.wait(_MEETING_SECONDS)
            self.has_met = True
        except threading.BrokenBarrierError:
            pass
        return super().find_config_map(namespace, name, key)


def test_no_two_are_planned_at_once(acting: Acting, cluster: Api) -> None:
    cluster.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "my-config", "namespace": NAMESPACE},
            "data": {"training_config.yaml": "training_config: {}\n"},
        }
    )
    acting.apply({"tuning/config": "my-config"})
    there = Meeting(kube=acting.kube, namespace=NAMESPACE, warn=list)
    there.barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as workers:
        plans = [workers.submit(plan, there, acting.workspace) for _ in range(2)]
    assert [each.result().workspace.name for each in plans] == ["my-model", "my-model"]
    assert not there.has_met
