from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.provider import NodeRequest, Placement
from argotune.steps.nodes.ready import wait_for_gpus, wait_for_node
from argotune.steps.nodes.waiting import Waiting
from tests.fakes.kube import Cluster, Fault, Object, serving

LABELS = {"agentpool": "gpu1"}
PLACEMENT = Placement(instance_type="Standard_NC24ads_A100_v4")
REQUEST = NodeRequest(run="r", gpus=1, timeout_seconds=100.0, gpu_timeout_seconds=30.0)


def node(*, ready: str = "True", gpus: str | None = "1", **changes: Any) -> Object:
    labels = {**LABELS, "node.kubernetes.io/instance-type": PLACEMENT.instance_type}
    return {
        "metadata": {"name": "n", "labels": labels | changes.get("labels", {})}
        | changes.get("metadata", {}),
        "spec": {"taints": changes.get("taints", [])},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletNotReady"}],
            "capacity": {} if gpus is None else {"nvidia.com/gpu": changes.get("capacity", gpus)},
            "allocatable": {} if gpus is None else {"nvidia.com/gpu": gpus},
        },
    }


def tune_pod(workflow: str) -> Object:
    """It has the node's GPU."""
    return {
        "metadata": {
            "name": "tune",
            "namespace": "team",
            "labels": {"workflows.argoproj.io/workflow": workflow},
        },
        "spec": {
            "nodeName": "n",
            "containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}],
        },
        "status": {"phase": "Running"},
    }


class Wait:
    """Waits in a time of its own, in which `after` says what the cluster is after so many
    looks."""

    def __init__(self, cluster: Cluster, after: dict[int, list[Object]] | None = None) -> None:
        self.cluster = cluster
        self.after = after or {}
        self.sleeps: list[float] = []
        clock = Clock(now=lambda: sum(self.sleeps), sleep=self._sleep)
        self.waiting = Waiting(100.0, clock=clock, progress=Progress())

    def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.cluster.nodes = self.after.get(len(self.sleeps), self.cluster.nodes)

    def for_node(self) -> Mapping[str, Any]:
        with serving(self.cluster) as kube:
            return wait_for_node(kube, LABELS, self.waiting.phase("no node", 30.0))

    def for_gpus(self, request: NodeRequest = REQUEST) -> Mapping[str, Any]:
        with serving(self.cluster) as kube:
            return wait_for_gpus(kube, request, PLACEMENT, LABELS, self.waiting)


def test_a_node_is_waited_for_until_it_is_ready() -> None:
    wait = Wait(Cluster(), {1: [node(ready="False")], 2: [node(gpus=None)]})
    assert wait.for_node() == node(gpus=None)
    assert wait.sleeps == [10.0, 10.0]


def test_a_node_that_does_not_come_is_refused_with_the_reason() -> None:
    with pytest.raises(PlacementRefused) as caught:
        Wait(Cluster()).for_node()
    assert str(caught.value) == "no node after 30 s: no node with the label agentpool=gpu1 yet"
    with pytest.raises(PlacementRefused) as caught:
        Wait(Cluster(nodes=[node(ready="Unknown")])).for_node()
    assert str(caught.value) == "no node after 30 s: n: not Ready (KubeletNotReady)"


def test_an_api_server_that_is_away_is_waited_for() -> None:
    faults = [Fault("GET", "nodes", 503, "away", times=2)]
    wait = Wait(Cluster(nodes=[node()], faults=faults))
    assert wait.for_node()["metadata"]["name"] == "n"
    assert len(wait.sleeps) == 2


def test_gpus_count_on_the_second_look_in_a_row() -> None:
    wait = Wait(Cluster(nodes=[node()]))
    wait.for_gpus()
    assert wait.sleeps == [10.0]
    flapping = Wait(Cluster(nodes=[node()]), {1: [node(gpus="0", capacity="1")], 2: [node()]})
    flapping.for_gpus()
    assert flapping.sleeps == [10.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (node(ready="False"), "n: not Ready (KubeletNotReady)"),
        (node(gpus="0", capacity="1"), "n: 0 of 1 GPU(s) healthy, 1 needed"),
        (
            node(labels={"node.kubernetes.io/instance-type": "Standard_D2"}),
            "n: instance type Standard_D2, not Standard_NC24ads_A100_v4",
        ),
        (
            node(taints=[{"key": "karpenter.sh/unregistered", "effect": "NoExecute"}]),
            "n: taint karpenter.sh/unregistered:NoExecute is not tolerated",
        ),
        (node(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), "n: being deleted"),
    ],
)
def test_gpus_that_cannot_be_used_say_why(found: Object, reason: str) -> None:
    found["metadata"].setdefault("labels", dict(LABELS))
    with pytest.raises(PlacementRefused) as caught:
        Wait(Cluster(nodes=[found])).for_gpus()
    assert str(caught.value) == f"no usable GPU (gpu-timeout-seconds) after 30 s: {reason}"


def test_a_driver_that_is_too_old_is_refused_at_once_and_so_is_the_machine() -> None:
    labels = {**LABELS, "nvidia.com/cuda.driver-version.full": "570.237"}
    wait = Wait(Cluster(nodes=[node(labels=labels)]))
    with pytest.raises(PlacementRefused) as caught:
        wait.for_gpus()
    assert str(caught.value) == "n: NVIDIA driver 570.237, 580 or later needed (CUDA 13)"
    assert wait.sleeps == []
    in_another_zone = replace(PLACEMENT, zone="2")
    assert caught.value.rules_out(PLACEMENT, in_another_zone)
    assert not caught.value.rules_out(PLACEMENT, replace(PLACEMENT, instance_type="Other"))


def test_a_gpu_that_the_runs_own_pod_has_taken_is_there() -> None:
    """The tune pod waits for the successor of a lost node and is there before the second look."""
    wait = Wait(Cluster(nodes=[node()], pods=[tune_pod("fit-x2b")]))
    wait.for_gpus(replace(REQUEST, workflow="fit-x2b", namespace="team"))
    assert wait.sleeps == [10.0]


def test_a_gpu_that_another_runs_pod_has_taken_is_not() -> None:
    wait = Wait(Cluster(nodes=[node()], pods=[tune_pod("fit-old")]))
    with pytest.raises(PlacementRefused) as caught:
        wait.for_gpus(replace(REQUEST, workflow="fit-x2b", namespace="team"))
    assert str(caught.value).endswith("n: 0 of 1 GPU(s) free, taken by team/tune")


def test_a_node_that_goes_meanwhile_is_missed() -> None:
    with pytest.raises(PlacementRefused, match=r"the node with agentpool=gpu1 was deleted$"):
        Wait(Cluster()).for_gpus()


def test_a_missing_device_plugin_is_no_matter_of_the_placement() -> None:
    with pytest.raises(PermanentError) as caught:
        Wait(Cluster(nodes=[node(gpus=None)])).for_gpus()
    assert str(caught.value) == (
        "no usable GPU (gpu-timeout-seconds) after 30 s: n: no nvidia.com/gpu: it has no GPU, or "
        "no device plugin (install NVIDIA's k8s-device-plugin or the GPU operator)"
    )


def test_without_the_right_to_see_pods_nobody_knows_about_the_plugin() -> None:
    faults = [Fault("GET", "/api/v1/pods", 403, "no", times=99)]
    with pytest.raises(PlacementRefused):
        Wait(Cluster(nodes=[node(gpus=None)], faults=faults)).for_gpus()


def test_a_plugin_that_runs_and_finds_nothing_is_a_matter_of_this_node() -> None:
    plugin = {
        "metadata": {"name": "nvidia-device-plugin-daemonset-x", "namespace": "gpu-operator"},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running"},
    }
    with pytest.raises(PlacementRefused) as caught:
        Wait(Cluster(nodes=[node(gpus=None)], pods=[plugin])).for_gpus()
    assert "device plugin gpu-operator/nvidia-device-plugin-daemonset-x is Running; its log" in str(
        caught.value
    )
