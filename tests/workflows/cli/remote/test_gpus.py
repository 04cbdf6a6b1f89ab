"""argotune submit of a workspace that names its nodes by labels alone, as Kaito's users do."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.workspace.helpers import CONFIG_MAP, WORKSPACE

A10 = {"nvidia.com/gpu.product": "NVIDIA-A10", "nvidia.com/gpu.memory": "23028"}
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"}
T4 = {
    "nvidia.com/gpu.product": "Tesla-T4",
    "nvidia.com/gpu.memory": "15360",
    "nvidia.com/gpu.compute.major": "7",
}


def node(name: str, labels: dict[str, str], *, gpus: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"app": "my-model", **labels}},
        "spec": {},
        "status": {"capacity": {"nvidia.com/gpu": str(gpus)} if gpus else {}},
    }


def workspace(method: str = "qlora", **changes: Any) -> str:
    document = yaml.safe_load(WORKSPACE)
    del document["resource"]["instanceType"]
    document["tuning"] |= {"method": method, **changes}
    return yaml.safe_dump(document)


def submit(argotune: Argotune, write: Write, text: str, *flags: str) -> Answer:
    return argotune("submit", write("workspace.yaml", text), *flags)


def own_keys(cluster: Cluster) -> dict[str, Any]:
    (created,) = cluster.of_kind("Workflow")
    arguments = {item["name"]: item["value"] for item in created["spec"]["arguments"]["parameters"]}
    document = yaml.safe_load(arguments["config"]) or {"training_config": {}}
    found: dict[str, Any] = document["training_config"].get("Argotune", {})
    return found


def test_the_smallest_gpu_that_the_run_fits_is_planned_for(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.nodes = [node("big", A100, gpus=8), node("small", A10), node("old", T4)]
    answer = submit(argotune, write, workspace())
    assert answer.code == 0
    of_machine, of_service = answer.err.splitlines()
    assert of_machine == (
        "warning: resource.instanceType: missing, so the plan is for one GPU of node small: "
        "NVIDIA-A10, 22.49 GiB"
    )
    assert of_service.startswith("warning: the service runs with the base in 4 bits, ")
    assert own_keys(cluster) == {"gpus": 1, "gpu_memory_gib": 22.49, "gpu_model": "NVIDIA-A10"}


def test_other_keys_of_the_config_stay(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    cluster.nodes = [node("small", A10)]
    cluster.objects["ConfigMap", "team-a", "my-config"] = yaml.safe_load(CONFIG_MAP)
    assert submit(argotune, write, workspace(config="my-config")).code == 0
    (created,) = cluster.of_kind("Workflow")
    (text,) = (
        item["value"]
        for item in created["spec"]["arguments"]["parameters"]
        if item["name"] == "config"
    )
    before = yaml.safe_load(yaml.safe_load(CONFIG_MAP)["data"]["training_config.yaml"])
    after = yaml.safe_load(text)["training_config"]
    assert after.pop("Argotune")["gpus"] == 1
    assert after == before["training_config"]


def test_larger_node_is_planned_for_where_the_small_one_does_not_do(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.nodes = [node("small", A10), node("big", A100)]
    assert submit(argotune, write, workspace("lora")).code == 0
    assert own_keys(cluster)["gpu_model"] == "NVIDIA-A100-SXM4-80GB"


def test_what_fits_no_node_is_refused_before_anything_is_made(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.nodes = [node("small", A10)]
    answer = submit(argotune, write, workspace("lora"))
    assert answer.code == 2
    assert "phi-4 with lora and 4096 tokens per pass needs 36.1 GB per GPU" in answer.err
    assert "method qlora instead of lora (14.8 GB)" in answer.err
    assert cluster.of_kind("Workflow") == []


def test_machine_of_the_cloud_is_known_without_nvidias_labels(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    labels = {"node.kubernetes.io/instance-type": "standard_nc24ads_a100_v4"}
    cluster.nodes = [node("cloud", labels)]
    assert submit(argotune, write, workspace()).code == 0
    assert own_keys(cluster) == {"gpus": 1, "gpu_memory_gib": 80.0, "gpu_model": "A100 80GB"}


@pytest.mark.parametrize(
    "nodes",
    [[], [node("silent", {})], [node("no-gpu", A10, gpus=0)], [node("old", T4)]],
    ids=["none", "without labels", "without a GPU", "without bfloat16"],
)
def test_nodes_that_say_nothing_leave_it_to_the_plan(
    argotune: Argotune, write: Write, cluster: Cluster, nodes: list[dict[str, Any]]
) -> None:
    cluster.nodes = nodes
    answer = submit(argotune, write, workspace())
    assert answer.code == 0
    assert "the config names no GPU, so the plan is for one with 24 GiB" in answer.err
    assert own_keys(cluster) == {}


def test_who_may_not_see_nodes_may_submit(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.nodes = [node("small", A10)]
    cluster.faults.append(Fault("GET", "/nodes", 403, message="forbidden"))
    answer = submit(argotune, write, workspace())
    assert answer.code == 0
    assert "the config names no GPU, so the plan is for one with 24 GiB" in answer.err
    assert own_keys(cluster) == {}


@pytest.mark.parametrize(
    "text",
    [
        WORKSPACE,
        workspace(preset={"name": "tiny"}),
        workspace().replace("argotune.dev/provider: existing", "argotune.dev/provider: karpenter"),
    ],
    ids=["names a SKU", "needs no GPU", "brings its own node"],
)
def test_nodes_are_not_asked_where_it_does_not_matter(
    argotune: Argotune, write: Write, cluster: Cluster, text: str
) -> None:
    cluster.nodes = [node("small", A10)]
    submit(argotune, write, text)
    assert not [request for request in cluster.requests if "/nodes" in request]
