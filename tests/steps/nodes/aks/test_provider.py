from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from argotune.steps.common.errors import CapacityError, Interrupted, PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.aks.pool import pool_name
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import Node
from tests.fakes.arm import Creation, Fault
from tests.steps.nodes.aks.azure import A10, A100, GPU, H100, RUN, Azure, placement

POOL = pool_name(RUN)
ALLOCATION_FAILED = {
    "code": "ReconcileVMSSAgentPoolFailed",
    "message": "VMSSAgentPoolReconciler retry failed",
    "details": [
        {
            "code": "AllocationFailed",
            "message": "Allocation failed. We do not have sufficient capacity for the requested VM "
            "size in this region.",
        }
    ],
}


def test_a_pool_of_the_runs_own_becomes_a_node(azure: Azure, tmp_path: Path) -> None:
    progress_file = tmp_path / "progress"
    node = azure.provision(Progress(progress_file, interval_seconds=0), labels={"team": "a"})
    assert node == Node(
        name=f"aks-{POOL}-vmss000000",
        accelerator=f"1 x GPU ({A100})",
        selector={NODE_LABEL: POOL},
        tolerations=({"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},),
        placement=placement(),
        price_usd_per_hour=3.673,
        since=datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC),
        tried=node.tried,
    )
    assert [str(each) for each in node.tried] == [
        f"{A100} regular (130 s): node aks-{POOL}-vmss000000"
    ]
    assert azure.cloud.pools[POOL].body["properties"] == {
        "count": 1,
        "enableAutoScaling": False,
        "mode": "User",
        "nodeLabels": {
            "team": "a",
            "argotune.dev/run": RUN,
            "argotune.dev/workflow": "tune-x7k2p",
            "argotune.dev/namespace": "team",
            "argotune.dev/workspace": "phi",
            "argotune.dev/node": POOL,
        },
        "nodeTaints": ["sku=gpu:NoSchedule"],
        "osDiskSizeGB": 256,
        "osSKU": "Ubuntu",
        "osType": "Linux",
        "scaleSetPriority": "Regular",
        "tags": {
            "argotune-run": RUN,
            "argotune-workflow": "tune-x7k2p",
            "argotune-namespace": "team",
            "argotune-workspace": "phi",
            "argotune-created": "2026-09-21T14:13:20Z",
            "argotune-expires": "2026-09-29T14:13:20Z",
            "argotune-price-usd-per-hour": "3.673",
        },
        "type": "VirtualMachineScaleSets",
        "vmSize": A100,
    }
    assert progress_file.read_text().split() == ["1/4", "2/4", "3/4", "4/4"]


def test_spot_zone_and_settings_reach_azure(azure: Azure) -> None:
    azure.settings = type(azure.settings)(
        aks_subnet_id="/subscriptions/s/subnets/gpu",
        aks_os_sku="AzureLinux",
        aks_gpu_driver="None",
        aks_mig_profile="MIG3g",
    )
    node = azure.provision(capacity_types=("spot",), zones=("2",), spot_max_price_usd_per_hour=1.5)
    properties = azure.cloud.pools[POOL].body["properties"]
    assert {
        name: properties[name]
        for name in (
            "scaleSetPriority",
            "scaleSetEvictionPolicy",
            "spotMaxPrice",
            "availabilityZones",
            "vnetSubnetID",
            "osSKU",
            "gpuProfile",
            "gpuInstanceProfile",
        )
    } == {
        "scaleSetPriority": "Spot",
        "scaleSetEvictionPolicy": "Delete",
        "spotMaxPrice": 1.5,
        "availabilityZones": ["2"],
        "vnetSubnetID": "/subscriptions/s/subnets/gpu",
        "osSKU": "AzureLinux",
        "gpuProfile": {"driver": "None"},
        "gpuInstanceProfile": "MIG3g",
    }
    assert node.placement == placement(capacity_type="spot", zone="2")
    assert [each["key"] for each in node.tolerations] == [
        "sku",
        "kubernetes.azure.com/scalesetpriority",
    ]


def test_alternatives_are_tried_in_order_and_shown(azure: Azure) -> None:
    azure.cloud.creations = [
        Creation(seconds=60, error=ALLOCATION_FAILED),
        Creation(seconds=60, error={"code": "ZonalAllocationFailed", "message": "zone is full"}),
    ]
    node = azure.provision(
        instance_types=(A100, H100), capacity_types=("spot", "regular"), zones=("1", "any")
    )
    assert [str(each) for each in node.tried] == [
        f"{A100} spot in zone 1 (120 s): no machine for {A100} spot in zone 1 now: "
        "AllocationFailed: Allocation failed. We do not have sufficient capacity for the "
        "requested VM size in this region.",
        f"{A100} spot: not tried, for the same reason as {A100} spot in zone 1",
        f"{H100} spot in zone 1 (120 s): no machine for {H100} spot in zone 1 now: "
        "ZonalAllocationFailed: zone is full",
        f"{H100} spot (130 s): node aks-{POOL}-vmss000000",
    ]
    assert len(azure.cloud.asked("PUT")) == 3
    assert list(azure.cloud.pools) == [POOL]


def test_nothing_is_left_when_there_are_no_machines_and_the_table_says_why(azure: Azure) -> None:
    azure.cloud.creations = [Creation(seconds=60, error=ALLOCATION_FAILED)] * 20
    with pytest.raises(CapacityError) as caught:
        azure.provision(instance_types=(A100, A10), timeout_seconds=1200.0)
    assert str(caught.value).startswith(f"no GPU node: {A100} regular (")
    assert str(caught.value).count("AllocationFailed") == 2
    assert azure.cloud.pools == {}
    assert len(azure.cloud.asked("PUT")) > 2


def test_a_lost_pod_goes_on_without_a_second_request(azure: Azure) -> None:
    class Lost(Exception):
        pass

    def lose() -> None:
        raise Lost

    azure.time.on_sleep = lose
    with pytest.raises(Lost):
        azure.provision(instance_types=(H100, A100), capacity_types=("spot",))
    azure.time.on_sleep = azure.passes
    node = azure.provision(instance_types=(H100, A100), capacity_types=("spot",))
    assert node.placement == placement(H100, capacity_type="spot")
    assert len(azure.cloud.asked("PUT")) == 1


def test_a_lost_pod_goes_on_with_the_alternative_that_it_had_reached(azure: Azure) -> None:
    azure.cloud.faults = [
        Fault("PUT", "agentPools", 400, {"code": "SkuNotAvailable", "message": "no"})
    ]
    first = azure.provision(instance_types=(H100, A100))
    again = azure.provision(instance_types=(H100, A100))
    assert again.placement == first.placement == placement(A100)
    assert len(azure.cloud.asked("PUT")) == 2


def test_a_failed_pool_of_an_earlier_try_is_made_anew(azure: Azure) -> None:
    azure.provision()
    azure.cloud.pools[POOL].state = "Failed"
    azure.provision()
    assert len(azure.cloud.asked("PUT")) == 2
    assert len(azure.cloud.asked("DELETE")) == 1


def test_a_pool_whose_node_was_evicted_is_made_anew(azure: Azure) -> None:
    azure.provision(capacity_types=("spot",))
    azure.takes(azure.cloud.pools[POOL])
    assert azure.cluster.nodes == []
    assert azure.provision(capacity_types=("spot",)).name
    assert len(azure.cloud.asked("PUT")) == 2
    assert len(azure.cluster.nodes) == 1


def test_a_pool_of_somebody_else_is_left_alone(azure: Azure) -> None:
    azure.provision()
    azure.cloud.pools[POOL].body["properties"]["tags"]["argotune-run"] = "other"
    with pytest.raises(PermanentError) as caught:
        azure.provision()
    assert str(caught.value) == (
        f"agent pool {POOL} exists and was made for run other; delete it, or start the run anew"
    )
    assert azure.release() == []
    assert azure.cloud.asked("DELETE") == []


def test_other_operations_of_the_cluster_are_waited_for(
    azure: Azure, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "argotune")
    azure.cloud.busy_until = 200.0
    azure.provision()
    assert azure.time.seconds > 200
    assert "Another agentpool operation (nodepool1 - Updating) is in progress" in caplog.text


def test_a_request_whose_answer_is_lost_is_not_sent_again(azure: Azure) -> None:
    azure.cloud.faults = [Fault("PUT", "agentPools", drop=True, carry_out=True)]
    assert azure.provision().name
    assert len(azure.cloud.asked("PUT")) == 1


def test_lost_connections_and_faults_of_azure_while_waiting_do_not_matter(azure: Azure) -> None:
    azure.cloud.faults = [
        Fault("GET", "agentPools", drop=True, times=2),
        Fault("GET", "operations", 503, "<html>Service Unavailable</html>", times=3),
        Fault("GET", "operations", 200, "not JSON"),
        Fault("PUT", "agentPools", drop=True),
    ]
    assert azure.provision().name
    assert len(azure.cloud.asked("PUT")) == 2


def test_throttling_is_obeyed(azure: Azure) -> None:
    body = {"code": "Throttled", "message": "please retry again in 90 seconds"}
    azure.cloud.faults = [Fault("PUT", "agentPools", 429, body, {"Retry-After": "90"}, times=2)]
    azure.provision()
    assert len(azure.cloud.asked("PUT")) == 3
    assert azure.time.seconds >= 180 + 120


@pytest.mark.parametrize(
    "creation",
    [
        Creation(operation_says="InProgress"),
        Creation(operation_says="Failed"),
        Creation(says_operation=False),
    ],
)
def test_the_pool_is_believed_rather_than_its_operation(azure: Azure, creation: Creation) -> None:
    azure.cloud.creations = [Creation(**{**vars(creation), "seconds": 0})]
    assert azure.provision().name


def test_without_the_right_to_read_operations_the_pool_alone_tells(azure: Azure) -> None:
    body = {"error": {"code": "AuthorizationFailed", "message": "no"}}
    azure.cloud.faults = [Fault("GET", "operations", 403, body, times=99)]
    azure.cloud.creations = [Creation(error=ALLOCATION_FAILED)]
    node = azure.provision(instance_types=(A100, A10))
    assert "AllocationFailed" in node.tried[0].outcome
    assert node.placement == placement(A10)


def test_a_pool_that_succeeds_without_a_machine_ends_with_the_launch(azure: Azure) -> None:
    azure.cloud.creations = [Creation(brings_node=False)]
    node = azure.provision(capacity_types=("spot", "regular"), launch_timeout_seconds=300.0)
    assert [str(each) for each in node.tried] == [
        f"{A100} spot (360 s): no node (launch-timeout-seconds; the price offered may be too low) "
        f"after 300 s: no node with the label argotune.dev/node={POOL} yet",
        f"{A100} regular (130 s): node aks-{POOL}-vmss000000",
    ]


def test_a_failed_pool_without_an_operation_tells_its_own_error(azure: Azure) -> None:
    azure.cloud.creations = [Creation(says_operation=False, error=ALLOCATION_FAILED)]
    node = azure.provision(instance_types=(A100, A10))
    assert "AllocationFailed" in node.tried[0].outcome


def test_gpus_that_come_later_are_waited_for(azure: Azure) -> None:
    azure.gpus_after_seconds = 200.0
    azure.provision()
    assert 320 <= azure.time.seconds <= 360


def test_gpus_must_stay_for_two_looks(azure: Azure) -> None:
    def flap() -> None:
        azure.passes()
        if azure.cluster.nodes and len(azure.cluster.requests) < 8:
            azure.cluster.nodes[0]["status"]["allocatable"] = {GPU: "0"}

    azure.time.on_sleep = flap
    azure.provision()
    assert azure.time.seconds >= 140


def test_without_a_device_plugin_it_fails_at_once_for_all_and_the_pool_goes(azure: Azure) -> None:
    azure.gpus_after_seconds = 1e9
    with pytest.raises(PermanentError) as caught:
        azure.provision(instance_types=(A100, A10), gpu_timeout_seconds=60.0)
    assert str(caught.value) == (
        f"no usable GPU (gpu-timeout-seconds) after 60 s: aks-{POOL}-vmss000000: no "
        "nvidia.com/gpu: it has no GPU, or no device plugin (install NVIDIA's k8s-device-plugin "
        "or the GPU operator)"
    )
    assert azure.cloud.pools == {}
    assert azure.cluster.nodes == []


def test_a_device_plugin_that_does_not_work_is_named_and_the_next_is_tried(azure: Azure) -> None:
    azure.gpus_after_seconds = 1e9
    azure.cluster.pods = [
        {
            "metadata": {"name": "nvidia-device-plugin-x", "namespace": "gpu"},
            "spec": {"nodeName": f"aks-{POOL}-vmss000000", "containers": []},
            "status": {"phase": "Running"},
        }
    ]
    with pytest.raises(CapacityError) as caught:
        azure.provision(instance_types=(A100, A10), gpu_timeout_seconds=60.0)
    assert str(caught.value).count("device plugin gpu/nvidia-device-plugin-x is Running") == 2


def test_a_machine_that_does_not_become_a_node_gets_one_more_try(azure: Azure) -> None:
    failed = Creation(error={"code": "VMExtensionError_OutboundConnFail", "message": "exit 50"})
    azure.cloud.creations = [failed, failed]
    with pytest.raises(CapacityError) as caught:
        azure.provision(instance_types=(A100, A10))
    assert "VMExtensionError_OutboundConnFail: exit 50" in str(caught.value)
    assert len(azure.cloud.asked("PUT")) == 2
    assert azure.cloud.pools == {}


def test_a_preempted_operation_is_asked_for_again(azure: Azure) -> None:
    azure.cloud.creations = [Creation(error={"code": "AKSOperationPreempted", "message": "new"})]
    azure.provision()
    assert len(azure.cloud.asked("PUT")) == 2


def test_a_pool_that_somebody_deletes_ends_the_wait(azure: Azure) -> None:
    def delete() -> None:
        azure.cloud.pools.pop(POOL, None)

    azure.time.on_sleep = delete
    with pytest.raises(PermanentError) as caught:
        azure.provision()
    assert str(caught.value) == f"agent pool {POOL} was deleted, and not by this run"


def test_what_cannot_be_deleted_now_is_left_to_release(
    azure: Azure, caplog: pytest.LogCaptureFixture
) -> None:
    azure.cloud.creations = [Creation(seconds=60, error=ALLOCATION_FAILED)]
    refusal = {"code": "AuthorizationFailed", "message": "no right to delete"}
    azure.cloud.faults = [Fault("DELETE", "agentPools", 403, refusal, times=9)]
    with pytest.raises((CapacityError, PermanentError)):
        azure.provision(timeout_seconds=200.0)
    assert "left-to-release" in caplog.text
    azure.cloud.faults.clear()
    assert azure.release() == [f"agent pool {POOL} ({A100} regular) after 0.05 h, about 0.18 USD"]
    assert azure.cloud.pools == {}


def test_release_says_what_went_and_what_it_cost(azure: Azure) -> None:
    azure.provision()
    azure.time.seconds += 2 * 3600
    assert azure.release() == [f"agent pool {POOL} ({A100} regular) after 2.05 h, about 7.54 USD"]
    assert azure.cloud.pools == {}
    assert azure.cluster.nodes == []
    assert azure.release() == []


def test_the_cost_of_spot_is_a_bound(azure: Azure) -> None:
    azure.provision(capacity_types=("spot",))
    assert "at most" in azure.release()[0]


def test_release_while_the_pool_is_being_made_waits_rather_than_leaks(azure: Azure) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    azure.time.on_sleep = stop
    with pytest.raises(Stopped):
        azure.provision()
    azure.time.on_sleep = azure.passes
    assert azure.cloud.pools[POOL].state == "Creating"
    assert len(azure.release()) == 1
    assert azure.cloud.pools == {}
    assert azure.cluster.nodes == []
    assert len(azure.cloud.asked("DELETE")) > 1


def test_release_sees_a_request_that_was_still_under_way(azure: Azure) -> None:
    def arrive() -> None:
        azure.time.on_sleep = azure.passes
        azure.provision()

    azure.time.on_sleep = arrive
    assert len(azure.release()) == 1
    assert azure.cloud.pools == {}


def test_release_survives_faults_and_finishes_what_another_try_began(azure: Azure) -> None:
    azure.provision()
    azure.cloud.faults = [
        Fault("GET", "agentPools", drop=True),
        Fault("DELETE", "agentPools", drop=True, carry_out=True),
        Fault("GET", "agentPools", 500, "<html>", times=2),
    ]
    assert len(azure.release()) == 1
    assert len(azure.cloud.asked("DELETE")) == 1


def test_release_that_runs_out_of_time_is_tried_again_by_argo(azure: Azure) -> None:
    azure.provision()
    azure.cloud.delete_seconds = 600.0
    with pytest.raises(TransientError) as caught:
        azure.release(timeout_seconds=60.0)
    assert not isinstance(caught.value, PlacementRefused)
    assert str(caught.value) == (
        f"the run's agent pool still exists after 60 s: agent pool {POOL} is being deleted"
    )
    assert azure.release()


def test_pools_whose_run_is_gone_or_whose_time_is_over_are_collected(azure: Azure) -> None:
    azure.provision()
    azure.provision(run="alive")
    azure.provision(run="expired", lifetime_seconds=60.0)
    others = azure.cloud.pools[pool_name("alive")].body
    azure.cloud.put(
        "/subscriptions/s/providers/x",
        "system",
        {"properties": {**others["properties"], "tags": {}}},
        only_new=True,
    )
    azure.time.seconds += 600
    asked: list[tuple[str, str, str]] = []

    def is_alive(run: str, namespace: str, workflow: str) -> bool:
        asked.append((run, namespace, workflow))
        return run != RUN

    provider = azure.provider()
    dry = provider.collect(is_alive, dry_run=True)
    assert [(each.run, each.reason, each.gone) for each in dry] == [
        (RUN, "its run has ended", False),
        ("expired", "its time ended at 2026-09-21 14:18 UTC", False),
    ]
    assert azure.cloud.asked("DELETE") == []
    assert set(asked) == {(RUN, "team", "tune-x7k2p"), ("alive", "team", "tune-x7k2p")}
    wet = provider.collect(is_alive, dry_run=False)
    assert [each.gone for each in wet] == [True, False]
    assert "another operation of the cluster is in progress" in wet[1].reason
    azure.time.seconds += 600
    assert [each.run for each in provider.collect(is_alive, dry_run=False)] == ["expired"]
    azure.time.seconds += 600
    assert provider.collect(is_alive, dry_run=False) == []
    assert set(azure.cloud.pools) == {pool_name("alive"), "system"}


def test_the_token_that_is_refused_fails_at_once(azure: Azure) -> None:
    azure.cloud.tokens.clear()
    with pytest.raises(PermanentError) as caught:
        azure.provision()
    assert str(caught.value).startswith(
        "no Azure credential: InvalidAuthenticationToken: The access token is invalid.; give"
    )


def test_the_body_that_azure_gets_is_json_of_known_fields_only(azure: Azure) -> None:
    azure.provision()
    text = json.dumps(azure.cloud.pools[POOL].body)
    assert "null" not in text


@pytest.mark.parametrize("looks", range(1, 30, 2))
def test_the_order_to_stop_is_never_waited_out_and_release_cleans_up(
    azure: Azure, looks: int
) -> None:
    azure.gpus_after_seconds = 60.0
    azure.cloud.creations = [Creation(seconds=30, error=ALLOCATION_FAILED)]
    left = looks

    def stop() -> None:
        nonlocal left
        azure.passes()
        left -= 1
        if left == 0:
            raise Interrupted("stopped by SIGTERM")

    azure.time.on_sleep = stop
    try:
        azure.provision(instance_types=(A100, H100))
    except Interrupted:
        assert left == 0
    else:
        assert left > 0
    azure.time.on_sleep = azure.passes
    azure.release()
    assert azure.cloud.pools == {}
    assert azure.cluster.nodes == []
