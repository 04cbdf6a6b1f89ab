from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import parse_fields
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.ledger import accelerator_of, made_nodes
from argotune.steps.nodes.made_node import MadeNode
from argotune.steps.nodes.provider import (
    Attempt,
    KeptNode,
    Node,
    NodeRequest,
    OnWait,
    Placement,
    ReleasedNode,
    RunIsAlive,
    Stray,
    ignore_wait,
)
from argotune.steps.nodes.resources import Resources
from argotune.steps.provision.params import Params, Result
from argotune.steps.provision.run import run
from tests.fakes.kube import Cluster, Fault, serving

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLUSTER = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
A100 = Placement(instance_type="Standard_NC24ads_A100_v4", capacity_type="spot", zone="2")
REFUSED = Placement(instance_type="Standard_NC24ads_A100_v4", capacity_type="spot", zone="1")


class Provider:
    """Notes what it is asked for, and answers with one node."""

    def __init__(self, node: Node) -> None:
        self.requests: list[NodeRequest] = []
        self._node = node

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        self.requests.append(request)
        return self._node

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        return ()

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        return ()

    def kept_nodes(self) -> Sequence[KeptNode]:
        return ()

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        return ()


def test_the_provider_gets_what_the_run_needs() -> None:
    provider = Provider(Node(name="n", accelerator="1 x A10", selector={}))
    flags = {
        "provider": "aks",
        "run": "uid",
        "workflow": "tune-x7k2p",
        "namespace": "team",
        "workspace": "phi",
        "gpus": "2",
        "gpu-memory-gb": "20.5",
        "tune-cpu": "47",
        "tune-memory": "430Gi",
        "disk-gib": "256",
        "instance-type": "Standard_NV72ads_A10_v5",
        "alternative-instance-types": '["Standard_NC48ads_A100_v4", "Standard_NV72ads_A10_v5"]',
        "zones": '["1", "any"]',
        "capacity-types": '["spot", "regular"]',
        "spot-max-price-usd-per-hour": "1.5",
        "label-selector": "app=tuning, zone=1",
        "lifetime-seconds": "3600",
        "timeout-seconds": "60",
        "launch-timeout-seconds": "30",
        "gpu-timeout-seconds": "20",
        "aks-cluster-id": CLUSTER,
    }
    cluster = Cluster()
    cluster.put(
        {"kind": "Workflow", "metadata": {"name": "tune-x7k2p", "namespace": "team", "uid": "uid"}}
    )
    for later_seconds in (0, 20):
        clock = Clock(wall=lambda passed=later_seconds: NOON.timestamp() + passed)
        with serving(cluster) as kube:
            run(
                parse_fields(Params, flags),
                progress=Progress(),
                provider=provider,
                kube=kube,
                clock=clock,
            )
    # Another try of the step gets no more time.
    first, again = provider.requests
    assert again == first
    assert [first] == [
        NodeRequest(
            run="uid",
            workflow="tune-x7k2p",
            namespace="team",
            workspace="phi",
            gpus=2,
            gpu_memory_gb=20.5,
            resources=Resources.of({"cpu": "47", "memory": "430Gi"}),
            disk_gib=256,
            labels={"app": "tuning", "zone": "1"},
            instance_types=("Standard_NV72ads_A10_v5", "Standard_NC48ads_A100_v4"),
            zones=("1", "any"),
            capacity_types=("spot", "regular"),
            spot_max_price_usd_per_hour=1.5,
            prices_usd_per_hour={
                "Standard_NV72ads_A10_v5": 6.52,
                "Standard_NC48ads_A100_v4": 7.346,
            },
            too_small={
                "Standard_NC48ads_A100_v4": (
                    "46.92 CPUs for the tune pod, 47 needed (parameter tune-cpu)"
                )
            },
            deadline=NOON + timedelta(hours=1),
            timeout_seconds=60.0,
            launch_timeout_seconds=30.0,
            gpu_timeout_seconds=20.0,
        )
    ]


@pytest.mark.parametrize(
    ("provider", "given", "tried"),
    [
        ("aks", "", ("Standard_NC24ads_A100_v4", "Standard_NC40ads_H100_v5")),
        ("aks", "[]", ("Standard_NC24ads_A100_v4",)),
        ("aks", '["Other"]', ("Standard_NC24ads_A100_v4", "Other")),
        ("existing", "", ("Standard_NC24ads_A100_v4",)),
    ],
)
def test_what_the_plan_proposes_is_tried_where_a_node_is_made_and_nobody_said_otherwise(
    provider: str, given: str, tried: tuple[str, ...]
) -> None:
    flags = {
        "provider": provider,
        "run": "uid",
        "gpus": "1",
        "disk-gib": "256",
        "instance-type": "Standard_NC24ads_A100_v4",
        "alternative-instance-types": given,
        "planned-alternatives": '["Standard_NC40ads_H100_v5"]',
        "aks-cluster-id": CLUSTER,
    }
    assert parse_fields(Params, flags).instance_types() == tried


def test_the_result_says_how_a_pod_gets_there_and_what_was_tried() -> None:
    node = Node(
        name="n",
        accelerator="1 x A100",
        selector={"b": "2", "a": "1"},
        tolerations=({"key": "sku", "operator": "Exists"},),
        placement=A100,
        since=NOON,
        price_usd_per_hour=3.673,
        tried=(
            Attempt(placement=REFUSED, outcome="no machines", seconds=61.0, tries=2),
            Attempt(placement=A100, outcome="node n", seconds=300.4),
        ),
    )
    result = run(Params(run="uid", gpus=1), progress=Progress(), provider=Provider(node))
    assert result == Result(
        node="n",
        accelerator="1 x A100",
        node_selector='{"a": "1", "b": "2"}',
        tolerations='[{"key": "sku", "operator": "Exists"}]',
        placement="Standard_NC24ads_A100_v4 spot in zone 2",
        node_since="2026-01-01T12:00:00Z",
        price_usd_per_hour=3.673,
        tried=(
            "Standard_NC24ads_A100_v4 spot in zone 1 (61 s, 2 tries): no machines\n"
            "Standard_NC24ads_A100_v4 spot in zone 2 (300 s): node n"
        ),
        watched=True,
    )


@pytest.mark.parametrize("is_refused", [False, True])
def test_the_gpu_is_written_down_at_the_workflow_where_that_can_be_done(is_refused: bool) -> None:
    cluster = Cluster(faults=[Fault("PATCH", "/workflows/", 403)] if is_refused else [])
    metadata = {"name": "phi-abc", "namespace": "team", "uid": "uid"}
    cluster.put({"kind": "Workflow", "metadata": metadata})
    params = Params(run="uid", workflow="phi-abc", namespace="team", gpus=1)
    provider = Provider(Node(name="n", accelerator="1 x A10", selector={}))
    with serving(cluster) as kube:
        result = run(params, progress=Progress(), provider=provider, kube=kube)
    assert result.accelerator == "1 x A10"
    (workflow,) = cluster.of_kind("Workflow")
    assert accelerator_of(workflow) == ("" if is_refused else "1 x A10")


@pytest.mark.parametrize(
    ("driver", "gpus", "is_told"), [(None, 1, True), ("580.82", 1, False), (None, 0, False)]
)
def test_a_driver_that_no_label_says_is_told(
    caplog: pytest.LogCaptureFixture, driver: str | None, gpus: int, is_told: bool
) -> None:
    node = Node(name="n", accelerator="1 x A10", driver=driver, selector={})
    params = Params(provider="existing", run="uid", gpus=gpus)
    run(params, progress=Progress(), provider=Provider(node))
    told = [text for text in caplog.messages if text.startswith("driver-not-known node=n ")]
    assert len(told) == is_told
    assert all('needed="NVIDIA 580 or later"' in text for text in told)


def test_this_machine_does_for_a_run_without_gpus() -> None:
    params = Params(provider="local", run="uid", gpus=0)
    result = run(params, progress=Progress())
    assert result.node
    assert json.loads(result.node_selector) == {}
    assert (result.tried, result.placement, result.tolerations) == ("", "", "[]")
    assert not result.watched


def test_every_problem_is_said_at_once() -> None:
    flags = {
        "run": "",
        "gpus": "-1",
        "gpu-memory-gb": "nan",
        "tune-memory": "much",
        "disk-gib": "-1",
        "label-selector": "app",
        "timeout-seconds": "0",
        "spot-max-price-usd-per-hour": "-1",
        "capacity-types": '["on-demand"]',
    }
    with pytest.raises(ParamsError) as caught:
        parse_fields(Params, flags)
    assert caught.value.problems == [
        "--run: empty; give the run's UID",
        "--gpus: -1 is less than 0",
        "--gpu-memory-gb: nan is less than 0",
        "--disk-gib: -1 is less than 0",
        "--timeout-seconds: 0.0 is not above 0",
        "--spot-max-price-usd-per-hour: -1.0 is not above 0",
        "--label-selector: 'app' is not KEY=VALUE",
        "--tune-memory: 'much' is no quantity such as 500m or 16Gi",
        "--capacity-types: 'on-demand'; accepted are spot and regular",
    ]


def test_what_aks_needs_is_asked_for_at_once() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(provider="aks", run="uid", gpus=0)
    assert caught.value.problems == [
        "--aks-cluster-id: empty; give what `az aks show --query id --output tsv` prints",
        "--disk-gib: 0; provider aks needs the size of the OS disk, see plan's output",
        "--instance-type: empty; provider aks needs a SKU, see `argotune plan`",
        "--gpus: 0 with provider aks, which makes GPU nodes; take provider existing",
    ]


def test_a_made_node_needs_the_workflow_that_keeps_its_time() -> None:
    params = Params(
        provider="aks",
        run="uid",
        gpus=1,
        disk_gib=256,
        instance_type="Standard_NC24ads_A100_v4",
        aks_cluster_id=CLUSTER,
    )
    provider = Provider(Node(name="n", accelerator="1 x A10", selector={}))
    with pytest.raises(ParamsError, match="--workflow, --namespace: empty with provider aks; "):
        run(params, progress=Progress(), provider=provider)
    assert provider.requests == []


def test_a_claim_of_karpenter_needs_a_node_class_and_a_sku_and_a_node_pool_has_both() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(provider="karpenter", run="uid", gpus=1, karpenter_node_class="default")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--instance-type",
        "--karpenter-node-class",
    ]
    Params(provider="karpenter", run="uid", gpus=1, karpenter_mode="nodepool")


def test_what_karpenter_and_kaitos_nodes_cannot_do_is_refused_before_the_step_begins() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(
            provider="karpenter",
            run="uid",
            gpus=1,
            instance_type="Standard_NC24ads_A100_v4",
            zones=("1",),
            capacity_types=("spot",),
            spot_max_price_usd_per_hour=1.5,
            karpenter_node_class="KaitoNodeClass/default",
        )
    assert caught.value.problems == [
        "--spot-max-price-usd-per-hour: 1.5; Karpenter has no such limit, leave it out",
        "--disk-gib: 0 with KaitoNodeClass default, whose agent pools need the size of the disk",
        "--capacity-types: spot with KaitoNodeClass default, which makes regular nodes only",
        "--zones: 1 with KaitoNodeClass default, which does not choose zones",
    ]


@pytest.mark.parametrize("selector", ["app", "app=", "=x", "app!=x", "app==x", "a=b=c"])
def test_selectors_other_than_equality_are_refused(selector: str) -> None:
    with pytest.raises(ParamsError) as caught:
        Params(run="uid", gpus=1, label_selector=selector)
    assert str(caught.value) == f"--label-selector: {selector!r} is not KEY=VALUE"


def _limited(cluster: Cluster, node: Node, **changes: Any) -> Provider:
    """A run with a limit of cost, as far as it comes; its Workflow is there."""
    cluster.put({"kind": "Workflow", "metadata": {"name": "w", "namespace": "team", "uid": "uid"}})
    params = Params(
        provider="aks",
        run="uid",
        workflow="w",
        namespace="team",
        gpus=1,
        disk_gib=256,
        instance_type="Standard_NC24ads_A100_v4",
        aks_cluster_id=CLUSTER,
        max_cost_usd=36.73,
    )
    provider = Provider(node)
    with serving(cluster) as kube:
        run(
            replace(params, **changes),
            progress=Progress(),
            provider=provider,
            kube=kube,
            clock=Clock(wall=NOON.timestamp),
        )
    return provider


def test_a_made_node_is_asked_for_within_the_limit_of_cost_and_written_down() -> None:
    cluster = Cluster()
    node = Node(
        name="n",
        accelerator="1 x A100",
        selector={},
        placement=A100,
        price_usd_per_hour=3.673,
        since=NOON,
    )
    (request,) = _limited(cluster, node).requests
    assert request.deadline_of(A100, NOON) == NOON + timedelta(hours=10)
    assert made_nodes(cluster.objects["Workflow", "team", "w"]) == (
        MadeNode(placement=str(A100), price_usd_per_hour=3.673, since=NOON),
    )


def test_a_limit_of_cost_without_a_price_is_refused_before_anything_is_asked_for() -> None:
    cluster = Cluster()
    node = Node(name="n", accelerator="1 x A100", selector={})
    with pytest.raises(
        ParamsError, match=r"^--max-cost-usd: 36\.73, but the price of Other is not"
    ):
        _limited(cluster, node, alternative_instance_types=("Other",))
    assert cluster.requests == []


def test_a_limit_of_cost_needs_a_node_of_the_runs_own() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(run="uid", gpus=1, max_cost_usd=5.0)
    assert str(caught.value) == (
        "--max-cost-usd: 5 with provider existing, which makes no node of the run's own; leave it "
        "out"
    )


@pytest.mark.parametrize(
    ("tokens", "speeds", "is_refused"),
    [
        # An hour and three minutes of a machine of 3.673 USD/h.
        (3_600_000, '{"Standard_NC24ads_A100_v4": 1000}', True),
        (3_200_000, '{"Standard_NC24ads_A100_v4": 1000}', False),
        (3_600_000, "", False),
        (None, '{"Standard_NC24ads_A100_v4": 1000}', False),
    ],
    ids=["dearer", "cheaper", "speed not known", "tokens not known"],
)
def test_data_that_are_sure_to_cost_more_than_the_limit_get_no_node(
    tokens: int | None, speeds: str, *, is_refused: bool
) -> None:
    cluster = Cluster()
    node = Node(name="n", accelerator="1 x A100", selector={}, placement=A100, since=NOON)
    given = {
        "run_tokens": tokens,
        "fastest_tokens_per_second": speeds,
        "max_cost_usd": 3.673,
    }
    if not is_refused:
        assert len(_limited(cluster, node, **given).requests) == 1
        return
    with pytest.raises(ParamsError) as caught:
        _limited(cluster, node, **given)
    assert str(caught.value) == (
        "--max-cost-usd: 3.673, but by its data of 3,600,000 tokens over all epochs the run costs "
        "at least 3.86 USD, 180 s for stopping included; accepted is an amount above it, a cheaper "
        "machine or fewer steps"
    )
    assert cluster.requests == []


def test_speeds_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"^--fastest-tokens-per-second: '\[1\]' is not"):
        Params(run="uid", gpus=1, fastest_tokens_per_second="[1]")
