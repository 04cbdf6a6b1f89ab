from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from argotune.steps.common.errors import TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.provider import ReleasedNode, RunIsAlive, Stray
from tests.fakes.kube import Fault, Object, serving
from tests.steps.nodes.karpenter.world import A100, NAME, RUN, START, World, happy

TEXT = f"NodeClaim {NAME} ({A100} regular)"


@pytest.fixture
def world() -> World:
    """A cluster with the node of one run; it came within 100 s."""
    world = World()
    world.scripts = [happy]
    world.provision()
    return world


def release(
    world: World, *, timeout_seconds: float = 600.0, run: str = RUN
) -> Sequence[ReleasedNode]:
    with serving(world.cluster) as kube:
        provider = world.provider(kube)
        return provider.release(run, timeout_seconds=timeout_seconds, progress=Progress())


def collect(world: World, is_alive: RunIsAlive, *, dry_run: bool = False) -> Sequence[Stray]:
    with serving(world.cluster) as kube:
        return world.provider(kube).collect(is_alive, dry_run=dry_run)


def waits(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.message.removeprefix('waiting reason="').removesuffix('"')
        for record in caplog.records
        if record.message.startswith("waiting")
    ]


def test_the_claim_goes_and_its_hours_and_cost_are_said(world: World) -> None:
    world.seconds = 3600.0
    (gone,) = release(world)
    assert str(gone) == f"{TEXT} after 1.00 h, about 3.68 USD"
    assert not world.cluster.of_kind("NodeClaim")
    assert not world.cluster.nodes


def test_a_spot_node_costs_at_most_the_price() -> None:
    world = World()
    world.scripts = [happy]
    world.provision(capacity_types=("spot",), prices_usd_per_hour={A100: 2.0})
    world.seconds = 1800.0
    (gone,) = release(world)
    assert str(gone) == f"NodeClaim {NAME} ({A100} spot) after 0.50 h, at most 1.01 USD"


def test_without_a_known_price_only_the_hours_are_said() -> None:
    world = World()
    world.scripts = [happy]
    world.provision(prices_usd_per_hour={})
    world.seconds = 360.0
    assert [str(each) for each in release(world)] == [f"{TEXT} after 0.10 h"]


def test_nothing_is_well_too(world: World) -> None:
    release(world)
    assert release(world) == []
    assert release(world, run="another") == []
    world.cluster.has_karpenter = False
    assert release(world) == []


def test_claims_of_other_runs_stay(world: World) -> None:
    world.provision(run="another")
    release(world)
    (left,) = world.cluster.of_kind("NodeClaim")
    assert left["metadata"]["labels"]["argotune.dev/run"] == "another"


def test_what_the_drain_waits_for_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "argotune")
    (claim,) = world.claims
    node = claim["status"]["nodeName"]
    world.cluster.pods = [
        pod("train-1", node),
        pod("plugin", node, owner="DaemonSet"),
        pod("elsewhere", "node-1"),
    ]

    def drain(world: World, claim: Object) -> None:
        deadline = f"{world.now() + timedelta(minutes=10):%Y-%m-%dT%H:%M:%SZ}"
        claim["metadata"]["annotations"]["karpenter.sh/nodeclaim-termination-timestamp"] = deadline
        world.say(claim, "Drained", "Unknown", "Draining")
        world.after(25, lambda: world.cluster.pods.clear())
        world.after(35, lambda: world.say(claim, "Drained", "True"))
        world.after(
            35, lambda: world.say(claim, "VolumesDetached", "Unknown", "AwaitingVolumeDetachment")
        )
        world.after(45, lambda: world.say(claim, "VolumesDetached", "True"))
        world.after(55, lambda: world.say(claim, "InstanceTerminating", "True"))
        world.after(65, lambda: world.drop(claim))

    world.on_delete = drain
    caplog.clear()
    release(world)
    assert waits(caplog) == [
        f"{TEXT}: node {node} is being drained and waits for team/train-1",
        f"{TEXT}: node {node} is being drained and waits for team/train-1 (deleted at "
        "2026-01-01T00:11:40Z at the latest)",
        f"{TEXT}: node {node} is being drained",
        f"{TEXT}: its volumes are being detached",
        f"{TEXT}: Karpenter deletes it",
        f"{TEXT}: the cloud deletes the machine",
    ]


def test_a_drain_that_takes_too_long_can_be_tried_again(world: World) -> None:
    world.on_delete = lambda world, claim: world.after(500, lambda: world.drop(claim))
    with pytest.raises(TransientError) as caught:
        release(world, timeout_seconds=60.0)
    assert str(caught.value) == (f"not deleted in time: {TEXT}: node aks-{NAME} is being drained")
    (gone,) = release(world)
    assert gone.what == TEXT
    deletes = [request for request in world.cluster.requests if request.startswith("DELETE")]
    assert len(deletes) == 1


def test_a_claim_that_is_made_meanwhile_goes_too(world: World) -> None:
    (claim,) = world.claims
    late = {**claim, "metadata": {**claim["metadata"], "name": "gpulate", "uid": "late"}}

    def make_another(world: World, claim: Object) -> None:
        world.after(5, lambda: world.cluster.objects.update({("NodeClaim", "", "gpulate"): late}))
        world.after(15, lambda: world.drop(claim))

    world.on_delete = make_another
    late["metadata"].pop("finalizers")
    gone = release(world)
    assert [each.what for each in gone] == [TEXT, TEXT.replace(NAME, "gpulate")]
    assert not world.cluster.of_kind("NodeClaim")


def test_a_node_that_outlives_its_claim_is_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "argotune")

    def forget(world: World, claim: Object) -> None:
        world.cluster.objects.clear()
        world.after(30, lambda: world.cluster.nodes.clear())

    world.on_delete = forget
    caplog.clear()
    release(world)
    assert waits(caplog)[-1] == f"node aks-{NAME}, though its claim is gone"


def test_an_api_server_that_is_away_for_a_while_is_waited_for(world: World) -> None:
    world.cluster.faults = [
        Fault("GET", "nodeclaims", 503, "away", times=2),
        Fault("DELETE", "nodeclaims", 500, "away"),
    ]
    (gone,) = release(world)
    assert gone.what == TEXT


def test_claims_of_runs_that_are_over_are_collected(world: World) -> None:
    asked: list[tuple[str, str, str]] = []

    def is_alive(run: str, namespace: str, workflow: str) -> bool:
        asked.append((run, namespace, workflow))
        return run != RUN

    world.provision(run="another")
    stray = Stray(what=TEXT, run=RUN, reason="its run has ended (team/phi-abc)", gone=False)
    assert collect(world, is_alive, dry_run=True) == [stray]
    assert len(world.cluster.of_kind("NodeClaim")) == 2
    (found,) = collect(world, is_alive)
    assert found.gone
    assert asked[:2] == [(RUN, "team", "phi-abc"), ("another", "team", "phi-abc")]
    (left,) = world.cluster.of_kind("NodeClaim")
    assert left["metadata"]["labels"]["argotune.dev/run"] == "another"


def test_claims_whose_time_is_over_are_collected_though_their_run_lives() -> None:
    world = World()
    world.scripts = [happy]
    world.provision(lifetime_seconds=3600.4)
    world.seconds = 3599.0
    assert collect(world, lambda run, namespace, workflow: True) == []
    world.seconds = 3601.0
    (stray,) = collect(world, lambda run, namespace, workflow: True)
    assert stray.reason == "its time ended at 2026-01-01T01:00:00Z"


def test_what_is_going_and_what_is_not_ours_is_not_collected(world: World) -> None:
    (claim,) = world.claims
    claim["metadata"]["deletionTimestamp"] = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    foreign = {"metadata": {"name": "kaito-1", "labels": {}}, "spec": {}}
    world.cluster.objects[("NodeClaim", "", "kaito-1")] = foreign
    assert collect(world, lambda run, namespace, workflow: False) == []
    world.cluster.has_karpenter = False
    assert collect(world, lambda run, namespace, workflow: False) == []


def pod(name: str, node: str, *, owner: str = "Workflow") -> Object:
    metadata = {"name": name, "namespace": "team", "ownerReferences": [{"kind": owner}]}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": "Running"}}
