from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.nodes.resources import Resources
from argotune.workflows.cli.checks import gpus
from argotune.workflows.cli.checks.subject import Needs
from tests.fakes.api_server import ApiServer
from tests.workflows.cli.checks.cluster import (
    device_plugin,
    healthy,
    look,
    manifest,
    messages,
    node,
)

TAINT = {"key": "team", "value": "other", "effect": "NoSchedule"}


def cluster_of(*nodes: dict[str, Any]) -> ApiServer:
    cluster = ApiServer()
    for item in nodes:
        cluster.put(item)
    return cluster


def needs(**changes: Any) -> Needs:
    request = NodeRequest(run="", gpus=1, timeout_seconds=0.0)
    return Needs(workspace="my-model", node=dataclasses.replace(request, **changes))


def test_nodes_that_fit() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100"}
    cluster = cluster_of(node("gpu-1", labels=labels), node("gpu-2", gpus=4, labels=labels))
    assert messages(look(cluster, gpus.nodes)) == [
        "ok: GPU nodes that fit: gpu-1 (1 x NVIDIA-A100), gpu-2 (4 x NVIDIA-A100)"
    ]


def test_a_node_that_does_not_fit_beside_one_that_does() -> None:
    cluster = cluster_of(node("gpu-1"), node("gpu-2", taints=[TAINT]))
    assert messages(look(cluster, gpus.nodes)) == [
        "ok: GPU nodes that fit: gpu-1 (1 x GPU (model unknown))",
        "info: node gpu-2 does not fit: taint team=other:NoSchedule is not tolerated",
    ]


def test_a_node_whose_driver_is_too_old_for_the_images_does_not_fit() -> None:
    cluster = cluster_of(node("gpu-1"), node("gpu-2", driver="570.237"))
    assert messages(look(cluster, gpus.nodes)) == [
        "ok: GPU nodes that fit: gpu-1 (1 x GPU (model unknown))",
        "info: node gpu-2 does not fit: NVIDIA driver 570.237, 580 or later needed (CUDA 13)",
    ]


def test_a_driver_that_no_label_tells_is_said_to_be_unknown() -> None:
    silent = node("gpu-1")
    del silent["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"]
    assert messages(look(cluster_of(silent), gpus.nodes)) == [
        "ok: GPU nodes that fit: gpu-1 (1 x GPU (model unknown))",
        "info: the NVIDIA driver of gpu-1 is not known, for want of the labels of GPU feature "
        "discovery; the images need 580 or later",
    ]


def test_no_node_fits() -> None:
    (found,) = look(cluster_of(node("gpu-1")), gpus.nodes, needs=needs(gpus=2))
    assert (found.level, found.message) == (
        "warning",
        "no GPU node fits: gpu-1: 1 GPU(s), 2 needed; provider existing makes none, so runs wait "
        "for one and then fail",
    )


def test_no_node_has_the_labels_of_the_workspace() -> None:
    wanted = needs(labels={"app": "my-model", "tier": "gpu"})
    (found,) = look(cluster_of(node("gpu-1")), gpus.nodes, needs=wanted)
    assert (found.level, found.message) == (
        "warning",
        "no GPU node has the labels app=my-model,tier=gpu of workspace my-model; GPU nodes are "
        "gpu-1; provider existing makes none, so runs wait for one and then fail",
    )
    assert found.command == "kubectl label node gpu-1 app=my-model tier=gpu"


def test_no_gpu_node_at_all() -> None:
    (found,) = look(cluster_of(node("cpu-1", gpus=0)), gpus.nodes)
    assert (found.level, found.message) == (
        "warning",
        "no node offers nvidia.com/gpu; provider existing makes none, so runs wait for one and "
        "then fail",
    )
    assert found.advice.startswith("add a GPU node to the cluster")


def test_a_provider_that_brings_nodes() -> None:
    found = look(cluster_of(node("cpu-1", gpus=0)), gpus.nodes, needs=Needs(provider="karpenter"))
    assert messages(found) == [
        "info: no node offers nvidia.com/gpu; provider karpenter brings one for each run"
    ]


@pytest.mark.parametrize(
    "labels",
    [
        {"accelerator": "nvidia"},
        {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        {"node.kubernetes.io/instance-type": "standard_nc24ads_a100_v4"},
    ],
)
def test_a_gpu_node_without_a_device_plugin(labels: dict[str, str]) -> None:
    silent, none = look(cluster_of(node("quiet", gpus=0, labels=labels)), gpus.nodes)
    assert (silent.level, silent.message) == (
        "warning",
        "node quiet looks like one with a GPU, and offers no nvidia.com/gpu",
    )
    assert silent.command.startswith("helm upgrade -i nvidia-device-plugin ")
    assert none.message.startswith("no node offers nvidia.com/gpu")


def sized(name: str, cpu: str) -> dict[str, Any]:
    """A node with so many CPUs."""
    item = node(name, gpus=0)
    item["status"]["allocatable"] = {"cpu": cpu, "memory": "32Gi"}
    return item


def pod_on(name: str, owner: str, cpu: str) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "one"}]
    made = manifest("v1", "Pod", f"{owner.lower()}-1", namespace="other", ownerReferences=owners)
    container = {"resources": {"requests": {"cpu": cpu}}}
    return {**made, "spec": {"nodeName": name, "containers": [container]}, "status": {}}


NEEDED = Resources.of({"cpu": "2", "memory": "4Gi"})
NO_GPU = "info: workspace my-model is planned for no GPU"


def test_a_run_without_gpus_that_no_node_has_the_cpus_for() -> None:
    cluster = cluster_of(sized("cpu-1", "2"), pod_on("cpu-1", "DaemonSet", "10m"))
    found = look(cluster, gpus.nodes, needs=needs(gpus=0, resources=NEEDED))
    assert messages(found) == [
        NO_GPU,
        "warning: no node fits: cpu-1: 1.99 CPUs for the tune pod, 2 needed (parameter tune-cpu);"
        " provider existing makes none, so runs wait for one and then fail",
    ]


def test_pods_that_may_end_are_no_lack() -> None:
    cluster = cluster_of(sized("cpu-1", "2"), pod_on("cpu-1", "ReplicaSet", "1"))
    found = look(cluster, gpus.nodes, needs=needs(gpus=0, resources=NEEDED))
    assert messages(found) == [NO_GPU]


def test_without_the_right_to_list_pods_the_whole_node_counts() -> None:
    cluster = cluster_of(sized("cpu-1", "2"), pod_on("cpu-1", "DaemonSet", "10m"))
    cluster.forbidden.add("list pods")
    found = look(cluster, gpus.nodes, needs=needs(gpus=0, resources=NEEDED))
    assert messages(found) == [NO_GPU]


def test_without_a_file_the_cpus_of_a_run_that_names_none_are_looked_for() -> None:
    small = node("gpu-1")
    small["status"]["allocatable"] |= {"cpu": "500m", "memory": "32Gi"}
    (found,) = look(cluster_of(small), gpus.nodes)
    assert found.level == "warning"
    assert "no GPU node fits: gpu-1: 0.5 CPUs for the tune pod, 2 needed" in found.message


def test_a_workspace_without_gpus() -> None:
    wanted = needs(gpus=0)
    assert messages(look(cluster_of(node("cpu-1", gpus=0)), gpus.nodes, needs=wanted)) == [NO_GPU]
    assert look(ApiServer(), gpus.device_plugin, needs=needs(gpus=0)) == []


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (device_plugin(), "ok: device plugin gpu/nvidia-device-plugin is ready on 1 of 1 nodes"),
        (
            device_plugin(key="sku", operator="Equal", value="gpu", effect="NoSchedule"),
            "ok: device plugin gpu/nvidia-device-plugin is ready on 1 of 1 nodes",
        ),
        (
            device_plugin(ready=0),
            "warning: device plugin gpu/nvidia-device-plugin is ready on 0 of 1 nodes",
        ),
        (
            device_plugin(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),
            "warning: device plugin gpu/nvidia-device-plugin does not tolerate sku=gpu:NoSchedule, "
            "the taint of nodes that are made for runs",
        ),
    ],
)
def test_the_device_plugin(plugin: dict[str, Any], said: str) -> None:
    cluster = healthy()
    cluster.put(plugin)
    assert messages(look(cluster, gpus.device_plugin)) == [said]


def test_no_device_plugin_is_seen() -> None:
    (found,) = look(cluster_of(node("cpu-1", gpus=0)), gpus.device_plugin)
    assert (found.level, found.message) == (
        "unknown",
        "no DaemonSet named like NVIDIA's device plugin is seen; some clouds hide theirs",
    )
    assert look(cluster_of(node("gpu-1")), gpus.device_plugin) == []
