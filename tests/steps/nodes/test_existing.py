from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import CapacityError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.existing import ExistingProvider
from argotune.steps.nodes.provider import Node, NodeRequest
from argotune.steps.nodes.resources import Resources
from tests.fakes.kube import Cluster, Fault, Object, serving

GPU = "nvidia.com/gpu"


def node(name: str = "gpu-1", *, gpus: int = 1, **changes: Any) -> Object:
    """A node that is well."""
    capacity = {GPU: str(gpus)} if gpus else {}
    return {
        "metadata": {"name": name, "labels": changes.get("labels", {})}
        | changes.get("metadata", {}),
        "spec": changes.get("spec", {}),
        "status": {
            "conditions": changes.get("conditions", [{"type": "Ready", "status": "True"}]),
            "capacity": capacity,
            "allocatable": changes.get("allocatable", capacity),
        },
    }


def pod(name: str, node_name: str, *, gpus: int = 1, init_gpus: int = 0) -> Object:
    def container(count: int) -> Object:
        return {"resources": {"requests": {GPU: str(count)} if count else {}}}

    spec = {
        "nodeName": node_name,
        "containers": [container(gpus), {}],
        "initContainers": [container(init_gpus)],
    }
    return {"metadata": {"name": name, "namespace": "team"}, "spec": spec, "status": {}}


def provision(
    cluster: Cluster,
    *,
    on_sleep: Callable[[int], None] = lambda looks: None,
    progress: Progress | None = None,
    **changes: Any,
) -> Node:
    values: dict[str, Any] = {"run": "r", "gpus": 1, "timeout_seconds": 30.0}
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        on_sleep(len(sleeps))

    with serving(cluster) as kube:
        clock = Clock(now=lambda: sum(sleeps), sleep=sleep)
        provider = ExistingProvider(lambda: kube, clock)
        return provider.provision(NodeRequest(**values | changes), progress or Progress())


def lack(cluster: Cluster, **changes: Any) -> str:
    with pytest.raises(CapacityError) as caught:
        provision(cluster, **changes)
    return str(caught.value).removeprefix("no node fits after 30 s: ")


def test_a_node_that_fits_is_found_with_its_kind() -> None:
    labels = {
        "app": "tuning",
        "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4",
        "nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe",
        "kubernetes.io/hostname": "gpu-1",
    }
    cluster = Cluster(nodes=[node(labels=labels), node("other")])
    assert provision(cluster, labels={"app": "tuning"}) == Node(
        name="gpu-1",
        accelerator="1 x NVIDIA-A100-80GB-PCIe",
        selector={
            "app": "tuning",
            "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4",
            "nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe",
        },
    )


def test_a_run_on_the_cpu_takes_any_node_that_is_well() -> None:
    cluster = Cluster(nodes=[node(gpus=0)])
    assert provision(cluster, gpus=0) == Node(name="gpu-1", accelerator="cpu", selector={})


def test_cpus_and_memory_that_pods_on_the_node_have_are_not_free() -> None:
    has = {GPU: "1", "cpu": "7820m", "memory": "28Gi"}
    taking = pod("web", "gpu-1", gpus=0)
    taking["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "4", "memory": "13Gi"}
    cluster = Cluster(nodes=[node(allocatable=has)], pods=[taking])
    asked = {"resources": Resources.of({"cpu": "4", "memory": "16Gi"})}
    assert lack(cluster, **asked) == (
        "gpu-1: 3.82 CPUs for the tune pod, 4 needed (parameter tune-cpu), 15 GiB of memory for "
        "the tune pod, 16 GiB needed (parameter tune-memory)"
    )

    def end(looks: int) -> None:
        cluster.pods.clear()

    assert provision(cluster, on_sleep=end, **asked).name == "gpu-1"


def test_pods_of_the_run_itself_take_nothing_from_it() -> None:
    has = {"cpu": "2", "memory": "8Gi"}
    own = pod("provision", "gpu-1", gpus=0)
    own["metadata"]["labels"] = {"workflows.argoproj.io/workflow": "phi-abc"}
    own["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "100m", "memory": "192Mi"}
    cluster = Cluster(nodes=[node(gpus=0, allocatable=has)], pods=[own])
    asked = {"resources": Resources.of(has), "gpus": 0, "namespace": "team"}
    assert provision(cluster, workflow="phi-abc", **asked).name == "gpu-1"
    assert "1.9 CPUs" in lack(cluster, workflow="phi-xyz", **asked)


def test_our_taints_and_soft_ones_do_not_matter() -> None:
    taints = [
        {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
        {"key": "maintenance", "effect": "PreferNoSchedule"},
    ]
    assert provision(Cluster(nodes=[node(spec={"taints": taints})])).name == "gpu-1"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (
            node(gpus=0),
            "no nvidia.com/gpu: it has no GPU, or no device plugin (install NVIDIA's "
            "k8s-device-plugin or the GPU operator)",
        ),
        (node(allocatable={GPU: "0"}), "0 of 1 GPU(s) healthy, 1 needed"),
        (
            node(conditions=[{"type": "Ready", "status": "False", "message": "no network"}]),
            "not Ready (no network)",
        ),
        (node(conditions=[]), "not Ready (no report)"),
        (
            node(
                conditions=[
                    {"type": "Ready", "status": "True"},
                    {"type": "DiskPressure", "status": "True"},
                ]
            ),
            "DiskPressure",
        ),
        (node(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), "being deleted"),
        (
            node(
                spec={
                    "unschedulable": True,
                    "taints": [
                        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
                        {"key": "dedicated", "value": "x", "effect": "NoSchedule"},
                        {"key": "sku", "value": "gpu", "effect": "NoExecute"},
                    ],
                }
            ),
            "cordoned, taint dedicated=x:NoSchedule is not tolerated, taint sku=gpu:NoExecute is "
            "not tolerated",
        ),
        (
            node(labels={"node.kubernetes.io/instance-type": "Standard_NC6s_v3"}),
            "instance type Standard_NC6s_v3, not Standard_NC24ads_A100_v4",
        ),
        (
            node(labels={"nvidia.com/gpu.memory": "15360"}),
            "16.1 GB of GPU memory, 20.0 GB needed",
        ),
        (
            node(labels={"argotune.dev/gpu-memory-gib": "16"}),
            "17.2 GB of GPU memory, 20.0 GB needed",
        ),
        (
            node(labels={"nvidia.com/cuda.driver-version.full": "570.237"}),
            "NVIDIA driver 570.237, 580 or later needed (CUDA 13)",
        ),
        (
            node(labels={"nvidia.com/cuda.driver.major": "535"}),
            "NVIDIA driver 535, 580 or later needed (CUDA 13)",
        ),
    ],
)
def test_what_a_node_lacks_is_said(found: Object, reason: str) -> None:
    said = lack(
        Cluster(nodes=[found]), instance_types=("Standard_NC24ads_A100_v4",), gpu_memory_gb=20.0
    )
    assert said == f"gpu-1: {reason}"


@pytest.mark.parametrize("driver", [None, "580.82.07"])
def test_the_driver_is_what_a_label_says(driver: str | None) -> None:
    labels = {"nvidia.com/cuda.driver-version.full": driver} if driver else {}
    assert provision(Cluster(nodes=[node(labels=labels)])).driver == driver


def test_gpus_of_running_pods_are_not_free() -> None:
    cluster = Cluster(nodes=[node(gpus=4)])
    cluster.pods = [
        pod("train", "gpu-1", gpus=1),
        pod("init", "gpu-1", gpus=0, init_gpus=2),
        pod("other-node", "gpu-2", gpus=4),
        pod("web", "gpu-1", gpus=0),
        pod("done", "gpu-1", gpus=4) | {"status": {"phase": "Succeeded"}},
        pod("unbound", "", gpus=4),
    ]
    assert provision(cluster).name == "gpu-1"
    assert lack(cluster, gpus=2) == "gpu-1: 1 of 4 GPU(s) free, taken by team/train, team/init"
    assert lack(cluster, gpus=8) == "gpu-1: 4 GPU(s), 8 needed"


def test_the_smallest_gap_is_filled_first() -> None:
    cluster = Cluster(nodes=[node("a-large", gpus=8), node("z-small", gpus=1)])
    assert provision(cluster).name == "z-small"


def test_every_node_says_why_it_does_not_fit() -> None:
    nodes = [node(f"n-{number:02}", gpus=0, spec={"unschedulable": True}) for number in range(12)]
    said = lack(Cluster(nodes=nodes))
    assert said.count("cordoned") == 10
    assert said.startswith("n-00: cordoned, no nvidia.com/gpu: ")
    assert said.endswith("; and 2 more nodes")


def test_a_label_that_no_node_has_is_named() -> None:
    cluster = Cluster(nodes=[node()])
    assert lack(cluster, labels={"app": "x", "zone": "1"}) == "no node has the labels app=x, zone=1"
    assert lack(Cluster()) == "the cluster has no node"


def test_a_node_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    cluster = Cluster(nodes=[node(gpus=0)])
    progress_file = tmp_path / "progress"

    def gpu_appears(looks: int) -> None:
        if looks == 2:
            cluster.nodes = [node()]

    progress = Progress(progress_file, interval_seconds=0)
    assert provision(cluster, on_sleep=gpu_appears, progress=progress).name == "gpu-1"
    assert progress_file.read_text().split() == ["1/1"]


def test_the_current_reason_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "argotune")
    lack(Cluster(nodes=[node(spec={"unschedulable": True})]))
    waiting = [record.message for record in caplog.records if "waiting" in record.message]
    assert waiting == ['waiting reason="gpu-1: cordoned"']


def test_an_api_server_that_is_away_for_a_while_is_waited_for() -> None:
    cluster = Cluster(nodes=[node()], faults=[Fault("GET", "nodes", 503, "away", times=2)])
    assert provision(cluster).name == "gpu-1"


def test_without_the_right_to_see_pods_the_node_counts_as_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [Fault("GET", "/api/v1/pods", 403, "cannot list resource pods")]
    cluster = Cluster(nodes=[node()], pods=[pod("train", "gpu-1")], faults=faults)
    assert provision(cluster).name == "gpu-1"
    assert "cannot list resource pods" in caplog.text


def test_without_the_right_to_see_nodes_it_fails_at_once() -> None:
    cluster = Cluster(faults=[Fault("GET", "nodes", 403, "cannot list resource nodes")])
    with pytest.raises(PermanentError) as caught:
        provision(cluster)
    assert str(caught.value) == "cannot list nodes: cannot list resource nodes"


def test_any_of_the_alternatives_does_in_any_case_of_letters() -> None:
    found = node(labels={"node.kubernetes.io/instance-type": "standard_nc24ads_a100_v4"})
    types = ("Standard_NV36ads_A10_v5", "Standard_NC24ads_A100_v4")
    assert provision(Cluster(nodes=[found]), instance_types=types).name == "gpu-1"
    said = lack(Cluster(nodes=[found]), instance_types=("Standard_NV36ads_A10_v5", "b"))
    assert said.endswith("standard_nc24ads_a100_v4, not Standard_NV36ads_A10_v5 or b")


def test_a_device_plugin_that_does_not_do_its_work_is_named() -> None:
    plugin = pod("nvidia-device-plugin-7x2", "gpu-1", gpus=0) | {"status": {"phase": "Pending"}}
    assert lack(Cluster(nodes=[node(gpus=0)], pods=[plugin])) == (
        "gpu-1: no nvidia.com/gpu: device plugin team/nvidia-device-plugin-7x2 is Pending; its "
        "log shows what it lacks, such as the driver"
    )


def test_the_wait_for_nodes_that_exist_ends_with_both_phases() -> None:
    with pytest.raises(CapacityError) as caught:
        provision(Cluster(), launch_timeout_seconds=15.0, gpu_timeout_seconds=5.0)
    assert str(caught.value) == "no node fits after 20 s: the cluster has no node"


def test_the_taints_of_the_node_are_handed_on_as_tolerations() -> None:
    taints = [
        {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
        {"key": "maintenance", "effect": "PreferNoSchedule"},
    ]
    assert provision(Cluster(nodes=[node(spec={"taints": taints})])).tolerations == (
        {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    )


def test_nothing_is_given_back_or_collected_and_no_cluster_is_needed() -> None:
    def no_cluster() -> Any:
        raise AssertionError

    existing = ExistingProvider(no_cluster)
    assert existing.release("r", timeout_seconds=1.0, progress=Progress()) == ()
    assert existing.collect(lambda run, namespace, workflow: False, dry_run=False) == ()
