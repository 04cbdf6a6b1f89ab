from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.common.errors import CapacityError, ParamsError, PermanentError
from argotune.steps.nodes.provider import Node
from tests.fakes.kube import Fault, Object
from tests.steps.nodes.karpenter.world import A100, GPU, World

A10 = "Standard_NV36ads_A10_v5"
TYPE = "node.kubernetes.io/instance-type"
CAPACITY = "karpenter.sh/capacity-type"


@pytest.fixture
def world() -> World:
    return World()


def rule(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


def pool(
    world: World,
    name: str,
    *requirements: Object,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    template = {
        "metadata": {"labels": labels or {}},
        "spec": {"requirements": list(requirements), "taints": spec.pop("taints", [])},
    }
    made: Object = {
        "metadata": {"name": name},
        "spec": {"template": template} | spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "resources": {}},
    }
    world.cluster.objects[("NodePool", "", name)] = made
    return made


def promise(world: World, **changes: Any) -> Node:
    return world.provision(settings={"mode": "nodepool", "karpenter_node_class": ""}, **changes)


def lack(world: World, kind: type[Exception] = PermanentError, **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        promise(world, **changes)
    return str(caught.value).removeprefix("no NodePool can make the node: ")


def test_a_pool_that_can_is_named_and_no_claim_is_made(world: World) -> None:
    taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
    pool(world, "gpu", rule(TYPE, "In", A10, A100), taints=[taint])
    assert promise(world) == Node(
        name="of NodePool gpu",
        accelerator=f"1 x GPU ({A100})",
        selector={"karpenter.sh/nodepool": "gpu", TYPE: A100, CAPACITY: "on-demand"},
        tolerations=({"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},),
        price_usd_per_hour=3.673,
    )
    assert not world.cluster.of_kind("NodeClaim")


def test_the_first_instance_type_that_some_pool_has_is_taken(world: World) -> None:
    pool(world, "a10", rule(TYPE, "In", A10), weight=10)
    pool(world, "general", rule(TYPE, "NotIn", "Standard_D2_v5"))
    assert promise(world, instance_types=(A100, A10)).selector["karpenter.sh/nodepool"] == "general"
    assert promise(world, instance_types=(A10, A100)).selector["karpenter.sh/nodepool"] == "a10"


def test_a_machine_on_which_the_tune_pod_does_not_fit_is_left_out(world: World) -> None:
    pool(world, "gpu", rule(TYPE, "In", A10, A100))
    node = promise(world, instance_types=(A100, A10), too_small={A100: "1 CPU, 4 needed"})
    assert node.selector[TYPE] == A10
    assert lack(world, too_small={A100: "1 CPU, 4 needed"}) == (
        f"NodePool gpu: {A100} has 1 CPU, 4 needed"
    )


def test_several_capacity_types_and_zones_are_left_to_karpenter(world: World) -> None:
    pool(world, "gpu", rule("topology.kubernetes.io/zone", "In", "1", "2"))
    node = promise(world, capacity_types=("spot", "regular"), zones=("2", "3"))
    assert node.selector == {"karpenter.sh/nodepool": "gpu", TYPE: A100}
    node = promise(world, capacity_types=("spot",), zones=("2",), instance_types=())
    assert node.selector == {
        "karpenter.sh/nodepool": "gpu",
        CAPACITY: "spot",
        "topology.kubernetes.io/zone": "2",
    }
    assert node.accelerator == "1 x GPU (model unknown)"
    assert node.price_usd_per_hour is None


def test_every_pool_says_why_it_does_not_do(world: World) -> None:
    pool(world, "arm", rule(TYPE, "In", "Standard_D2ps_v6"), rule(CAPACITY, "In", "spot"))
    pool(world, "cpu", rule("karpenter.azure.com/sku-gpu-count", "Lt", "1"))
    pool(world, "few", rule("karpenter.k8s.aws/instance-gpu-count", "In", "1", "2"))
    pool(world, "static", replicas=1)
    pool(world, "tainted", taints=[{"key": "team", "value": "b", "effect": "NoSchedule"}])
    pool(world, "zonal", rule("topology.kubernetes.io/zone", "In", "1"))
    said = lack(world, gpus=4, zones=("2", "3"))
    assert said == (
        f"NodePool arm: it does not make {A100}, it makes no on-demand nodes; "
        "NodePool cpu: its requirement karpenter.azure.com/sku-gpu-count leaves no node with 4 "
        "GPU(s); "
        "NodePool few: its requirement karpenter.k8s.aws/instance-gpu-count leaves no node with 4 "
        "GPU(s); "
        "NodePool static: static (spec.replicas): it makes no node for a pod; "
        "NodePool tainted: taint team=b:NoSchedule is not tolerated; "
        "NodePool zonal: it makes no nodes in zone 2 or 3"
    )
    assert world.seconds == 0


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [
        ("Exists", (), True),
        ("DoesNotExist", (), False),
        ("Gt", ("1",), True),
        ("Gte", ("2",), True),
        ("Lt", ("2",), False),
        ("Lte", ("2",), True),
        ("NotIn", ("1",), True),
        ("In", ("4",), True),
    ],
)
def test_requirements_mean_what_karpenter_means(
    world: World, operator: str, values: tuple[str, ...], fits: bool
) -> None:
    pool(world, "gpu", rule("karpenter.azure.com/sku-gpu-count", operator, *values))
    if fits:
        assert promise(world, gpus=2).name == "of NodePool gpu"
    else:
        assert "leaves no node with 2 GPU(s)" in lack(world, gpus=2)


def test_labels_of_ones_own_must_be_named_by_the_pool(world: World) -> None:
    pool(world, "b-fixed", labels={"apps": "phi"})
    pool(world, "c-free", rule("apps", "Exists"), weight=1)
    labels = {"apps": "phi", "kubernetes.io/arch": "amd64"}
    assert promise(world, labels=labels).selector["karpenter.sh/nodepool"] == "c-free"
    del world.cluster.objects[("NodePool", "", "c-free")]
    node = promise(world, labels=labels)
    assert node.selector.items() >= {**labels, "karpenter.sh/nodepool": "b-fixed"}.items()
    assert lack(world, labels={"apps": "other", "team": "a"}) == (
        "NodePool b-fixed: its nodes do not get the label apps=other; add it to its template, or a "
        "requirement {key: apps, operator: Exists}, its nodes do not get the label team=a; add it "
        "to its template, or a requirement {key: team, operator: Exists}"
    )


def test_a_limit_that_others_use_up_is_waited_for(world: World) -> None:
    made = pool(world, "gpu", limits={GPU: "2", "cpu": "100"})
    made["status"]["resources"] = {GPU: "2", "cpu": "48"}
    world.after(35, lambda: made["status"]["resources"].update({GPU: "1"}))
    assert promise(world).name == "of NodePool gpu"
    assert world.seconds == 40


def test_a_limit_that_stays_used_up_ends_at_the_deadline(world: World) -> None:
    made = pool(world, "gpu", limits={"cpu": "48", "memory": "1Ti"})
    made["status"]["resources"] = {"cpu": "48000m", "memory": "220Gi"}
    assert lack(world, CapacityError, launch_timeout_seconds=60.0) == (
        "no NodePool can make the node (launch-timeout-seconds) after 60 s: NodePool gpu: its "
        "limit of 48 cpu leaves no room (48000m in use)"
    )


def test_a_limit_below_the_need_is_not_waited_for(world: World) -> None:
    pool(world, "gpu", limits={GPU: "1"})
    assert lack(world, gpus=2) == (
        "NodePool gpu: its limit of 1 nvidia.com/gpu leaves no room (0 in use)"
    )


def test_a_pool_that_is_not_ready_is_waited_for(world: World) -> None:
    made = pool(world, "gpu")
    ready = made["status"].pop("conditions")
    world.after(15, lambda: made["status"].update({"conditions": ready}))
    promise(world)
    ready[0] |= {"status": "False", "reason": "NodeClassNotReady", "message": ""}
    assert lack(world, CapacityError, launch_timeout_seconds=20.0).endswith(
        "after 20 s: NodePool gpu: not Ready (NodeClassNotReady)"
    )
    made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert lack(world) == "NodePool gpu: being deleted, not Ready (NodeClassNotReady)"


def test_a_cluster_without_pools_or_without_karpenter_says_so(world: World) -> None:
    assert lack(world) == "the cluster has no NodePool"
    world.cluster.has_karpenter = False
    assert lack(world) == (
        "the cluster has no NodePools (karpenter.sh/v1): install Karpenter 1.0 or later, or take "
        "another provider"
    )


def test_an_api_server_that_is_away_for_a_while_is_waited_for(world: World) -> None:
    pool(world, "gpu")
    world.cluster.faults = [Fault("GET", "nodepools", 503, "away", times=2)]
    assert promise(world).name == "of NodePool gpu"


def test_a_run_on_the_cpu_is_refused(world: World) -> None:
    with pytest.raises(ParamsError) as caught:
        promise(world, gpus=0)
    assert caught.value.problems == [
        "--gpus: 0 with provider karpenter, which makes GPU nodes; take provider existing"
    ]
