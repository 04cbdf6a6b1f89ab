from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import (
    CapacityError,
    Interrupted,
    ParamsError,
    PermanentError,
    TransientError,
)
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.provider import Node, Placement
from tests.fakes.kube import Fault, Object
from tests.steps.nodes.karpenter.world import (
    A100,
    GPU,
    NAME,
    START,
    World,
    happy,
    no_capacity,
    requirement,
    type_of,
)

A10 = "Standard_NV36ads_A10_v5"


@pytest.fixture
def world() -> World:
    return World()


def failure(world: World, kind: type[Exception], **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        world.provision(**changes)
    return str(caught.value)


def nothing_is_left(world: World) -> bool:
    world.sleep(1)
    return not (world.cluster.of_kind("NodeClaim") or world.cluster.nodes)


def test_a_claim_brings_a_node_and_says_how_the_pod_finds_it(world: World, tmp_path: Path) -> None:
    world.scripts = [happy]
    progress = Progress(tmp_path / "progress", interval_seconds=0)
    node = world.provision(progress=progress)
    assert node == Node(
        name=f"aks-{NAME}",
        accelerator=f"1 x GPU ({A100})",
        selector={"argotune.dev/node": NAME},
        tolerations=({"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},),
        placement=Placement(instance_type=A100),
        price_usd_per_hour=3.673,
        since=START,
        tried=node.tried,
    )
    assert [str(row) for row in node.tried] == [f"{A100} regular (100 s): node aks-{NAME}"]
    assert (tmp_path / "progress").read_text().split() == ["1/4", "2/4", "3/4", "4/4"]


def test_what_is_waited_for_is_logged_once_each(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.scripts = [happy]
    caplog.set_level("INFO", "argotune")
    world.provision()
    waiting = [record.message for record in caplog.records if "waiting" in record.message]
    assert waiting == [
        'waiting reason="Karpenter has just been asked"',
        'waiting reason="Karpenter is working on it"',
        'waiting reason="Registered: NodeNotFound: Node not registered with cluster"',
        'waiting reason="the GPUs are allocatable; looking once more"',
    ]


def test_without_capacity_the_alternatives_are_tried_in_order(world: World) -> None:
    world.scripts = [no_capacity, no_capacity, no_capacity, happy]
    node = world.provision(instance_types=(A100, A10), capacity_types=("spot", "regular"))
    assert [
        (type_of(claim), requirement(claim, "karpenter.sh/capacity-type")) for claim in world.claims
    ] == [
        (A100, "spot"),
        (A10, "spot"),
        (A100, "on-demand"),
        (A10, "on-demand"),
    ]
    reason = (
        "InsufficientCapacityError: all requested instance types were unavailable during launch"
    )
    assert [str(row) for row in node.tried] == [
        f"{A100} spot (10 s): {reason}",
        f"{A10} spot (10 s): {reason}",
        f"{A100} regular (10 s): {reason}",
        f"{A10} regular (100 s): node aks-{NAME}",
    ]
    assert {claim["metadata"]["name"] for claim in world.claims} == {NAME}


def test_without_capacity_anywhere_it_is_tried_again_until_the_deadline(world: World) -> None:
    world.scripts = [no_capacity]
    said = failure(world, CapacityError, timeout_seconds=300.0)
    assert said == (
        f"no GPU node: {A100} regular (10 s, 3 tries): InsufficientCapacityError: all requested "
        "instance types were unavailable during launch"
    )
    assert len(world.claims) == 3
    assert nothing_is_left(world)


def test_the_events_of_the_claim_before_do_not_count(world: World) -> None:
    def silent(world: World, claim: Object) -> None:
        world.after(1, lambda: world.take_up(claim))
        world.after(2, lambda: world.drop(claim))

    world.scripts = [no_capacity, silent]
    said = failure(world, TransientError, instance_types=(A100, A10))
    assert said.startswith("AKSNodeClass gpu is not ready: Karpenter deleted the claim and gave no")


def test_an_event_that_comes_late_is_waited_for(world: World) -> None:
    def late(world: World, claim: Object) -> None:
        world.after(1, lambda: world.drop(claim))
        world.after(14, lambda: world.warn(claim, "InsufficientCapacityError", "no A100 today"))

    world.scripts = [late, happy]
    node = world.provision(instance_types=(A100, A10))
    assert node.tried[0].outcome == "InsufficientCapacityError: no A100 today"


def test_without_the_right_to_see_events_the_conditions_tell(world: World) -> None:
    def failing(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.say(claim, "Launched", "Unknown", "CreateInstanceFailed", "no A100 today")
        world.after(300, lambda: world.drop(claim))

    world.scripts = [failing, happy]
    world.cluster.faults = [Fault("GET", "/events", 403, "cannot list events", times=9)]
    node = world.provision(instance_types=(A100, A10))
    assert node.tried[0].outcome == (
        "the claim was deleted; last seen Launched: CreateInstanceFailed: no A100 today"
    )


def test_a_launch_that_fails_again_and_again_ends_with_its_reason(world: World) -> None:
    def stuck(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.say(claim, "Launched", "Unknown", "LaunchFailed", "the API of the cloud is away")

    world.scripts = [stuck]
    assert failure(world, CapacityError, launch_timeout_seconds=120.0) == (
        f"no GPU node: {A100} regular (120 s): Karpenter launched no machine "
        "(launch-timeout-seconds) after 120 s: Launched: LaunchFailed: the API of the cloud is away"
    )
    assert nothing_is_left(world)


def test_a_claim_that_nobody_takes_up_says_what_may_be_missing(world: World) -> None:
    assert failure(world, CapacityError, launch_timeout_seconds=60.0) == (
        f"no GPU node: {A100} regular (60 s): Karpenter launched no machine "
        "(launch-timeout-seconds) after 60 s: nothing handles the claim: is Karpenter running, and "
        "does it make nodes of AKSNodeClass (karpenter.azure.com)?"
    )
    assert nothing_is_left(world)


def test_a_condition_that_is_false_ends_the_waiting_at_once(world: World) -> None:
    def refused(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.say(claim, "Launched", "False", "InstanceCreationFailed", "SkuNotAvailable")

    world.scripts = [refused, happy]
    node = world.provision(instance_types=(A100, A10))
    assert str(node.tried[0]) == (
        f"{A100} regular (5 s): last seen Launched: InstanceCreationFailed: SkuNotAvailable"
    )
    assert [type_of(claim) for claim in world.claims] == [A100, A10]


def test_a_machine_that_does_not_join_has_its_own_message(world: World) -> None:
    def lost(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.after(60, lambda: world.launch(claim))

    world.scripts = [lost]
    assert failure(world, CapacityError) == (
        f"no GPU node: {A100} regular (900 s): the machine did not join the cluster "
        "(launch-timeout-seconds) after 840 s: Registered: NodeNotFound: Node not registered with "
        "cluster"
    )
    assert nothing_is_left(world)


def test_gpus_that_come_late_are_waited_for(world: World) -> None:
    def late(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.launch(claim)
        node = world.register(claim, gpus=0)

        def appear() -> None:
            node["status"]["capacity"] = node["status"]["allocatable"] = {GPU: "1"}

        world.after(200, appear)

    world.scripts = [late]
    assert str(world.provision().tried[0]) == f"{A100} regular (210 s): node aks-{NAME}"


def test_a_node_without_device_plugin_fails_for_good_and_goes(world: World) -> None:
    def bare(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.launch(claim)
        world.register(claim, gpus=0)

    world.scripts = [bare]
    assert failure(world, PermanentError, instance_types=(A100, A10)) == (
        f"no usable GPU (gpu-timeout-seconds) after 600 s: aks-{NAME}: no nvidia.com/gpu: it has "
        "no GPU, or no device plugin (install NVIDIA's k8s-device-plugin or the GPU operator)"
    )
    assert len(world.claims) == 1
    assert nothing_is_left(world)


def test_a_node_taken_back_while_its_gpu_is_waited_for_is_asked_for_again(world: World) -> None:
    def taken_back(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.launch(claim)
        world.register(claim, gpus=0)
        world.after(45, lambda: world.drop(claim))

    world.scripts = [taken_back, happy]
    node = world.provision(capacity_types=("spot",))
    assert len(world.claims) == 2
    assert node.tried[0].tries == 2


def test_another_try_of_the_step_goes_on_with_the_claim(world: World) -> None:
    def interrupted(world: World, claim: Object) -> None:
        world.happy(claim)

        def stop() -> None:
            raise Interrupted("asked to stop")

        world.after(40, stop)

    world.scripts = [no_capacity, interrupted]
    failure(world, Interrupted, instance_types=(A100, A10))
    node = world.provision(instance_types=(A100, A10))
    assert [str(row) for row in node.tried] == [f"{A10} regular (60 s): node aks-{NAME}"]
    assert len(world.claims) == 2
    assert sum(request.startswith("POST") for request in world.cluster.requests) == 2


def test_a_claim_that_is_going_is_waited_for_before_the_next(world: World) -> None:
    world.scripts = [happy]
    world.provision()
    world.on_delete = lambda world, claim: world.after(55, lambda: world.drop(claim))
    node = world.provision(instance_types=(A10,))
    assert [type_of(claim) for claim in world.claims] == [A100, A10]
    assert str(node.tried[0]) == f"{A10} regular (160 s): node aks-{NAME}"


def test_a_claim_of_another_run_with_the_name_is_left_alone(world: World) -> None:
    world.scripts = [happy]
    world.provision()
    world.claims[0]["metadata"]["labels"]["argotune.dev/run"] = "another"
    assert failure(world, PermanentError) == (
        f"NodeClaim {NAME} belongs to run another, and this run would have one of the same name; "
        "submit the run again"
    )
    assert world.cluster.of_kind("NodeClaim")


def test_an_api_server_that_is_away_for_a_while_is_waited_for(world: World) -> None:
    world.scripts = [happy]
    world.cluster.faults = [
        Fault("POST", "nodeclaims", 503, "away", times=2),
        Fault("GET", f"nodeclaims/{NAME}", 500, "away", times=0),
    ]
    world.after(35, lambda: setattr(world.cluster.faults[1], "times", 3))
    assert world.provision().name == f"aks-{NAME}"
    assert len(world.claims) == 1


def test_a_missing_right_is_said_at_once(world: World) -> None:
    world.cluster.faults = [Fault("POST", "nodeclaims", 403, "nodeclaims is forbidden")]
    assert failure(world, PermanentError) == (
        f"cannot create NodeClaim {NAME}: nodeclaims is forbidden"
    )


def test_a_cluster_without_karpenter_is_refused(world: World) -> None:
    world.cluster.has_karpenter = False
    assert failure(world, PermanentError) == (
        "the cluster has no NodeClaims (karpenter.sh/v1): install Karpenter 1.0 or later, or take "
        "another provider"
    )


def test_a_failure_to_clean_up_does_not_hide_what_failed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.say(claim, "Launched", "False", "InstanceCreationFailed", "AuthorizationFailed")

    world.scripts = [refused]
    world.cluster.faults = [Fault("DELETE", "nodeclaims", 403, "no right to delete")]
    said = failure(world, PermanentError)
    assert said.startswith("the cloud refuses Karpenter, whatever machine it asks for: last seen ")
    assert "cannot-delete-claim" in caplog.text


def test_all_problems_of_the_settings_are_said_at_once(world: World) -> None:
    with pytest.raises(ParamsError) as caught:
        world.provision(
            gpus=0,
            instance_types=(),
            spot_max_price_usd_per_hour=1.5,
            settings={"karpenter_node_class": "GpuClass/a"},
        )
    assert caught.value.problems == [
        "--gpus: 0 with provider karpenter, which makes GPU nodes; take provider existing",
        "--spot-max-price-usd-per-hour: 1.5; Karpenter has no such limit, leave it out",
        "--instance-type: empty; a claim of provider karpenter needs a SKU",
        "--karpenter-node-class: 'GpuClass/a' lacks the API group of GpuClass; give "
        "GROUP/GpuClass/a",
    ]
    assert not world.cluster.requests


def test_what_kaitos_provisioner_would_ignore_is_refused(world: World) -> None:
    with pytest.raises(ParamsError) as caught:
        world.provision(
            disk_gib=0,
            capacity_types=("spot", "regular"),
            zones=("1", "any"),
            settings={"karpenter_node_class": "KaitoNodeClass/default"},
        )
    assert caught.value.problems == [
        "--disk-gib: 0 with KaitoNodeClass default, whose agent pools need the size of the disk",
        "--capacity-types: spot with KaitoNodeClass default, which makes regular nodes only",
        "--zones: 1, any with KaitoNodeClass default, which does not choose zones",
    ]


def test_a_claim_whose_node_is_gone_is_taken_away_and_made_anew(world: World) -> None:
    """Before Karpenter found out by itself."""
    world.scripts = [happy]
    world.provision()
    world.cluster.nodes.clear()
    world.on_delete = lambda world, claim: world.after(25, lambda: world.drop(claim))
    node = world.provision()
    assert len(world.claims) == 2
    assert str(node.tried[0]) == f"{A100} regular (130 s): node aks-{NAME}"
