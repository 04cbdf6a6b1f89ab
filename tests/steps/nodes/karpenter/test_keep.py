"""A claim that waits for the next run of its workspace."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.karpenter.claim import claim_name, expires_at
from argotune.steps.nodes.labels import KEPT_LABEL, NODE_LABEL, RUN_LABEL, WORKFLOW_LABEL
from argotune.steps.nodes.provider import KeptNode, ReleasedNode, Stray
from tests.fakes.kube import Fault, Object, serving
from tests.steps.nodes.karpenter.world import A100, GPU, NAME, RUN, START, World, happy

NEXT = "9d2c6f3e-0f0a-4a37-8c5e-7b7f3a0d5c11"
HOUR = 3600.0
TEXT = f"NodeClaim {NAME} ({A100} regular)"
A10 = "Standard_NV36ads_A10_v5"
OWN = {NODE_LABEL: claim_name(NEXT)}


def keep(world: World, run: str = RUN, seconds: float = HOUR) -> Sequence[KeptNode]:
    with serving(world.cluster) as kube:
        return world.provider(kube).keep(run, seconds=seconds, progress=Progress())


def waiting(world: World) -> Sequence[KeptNode]:
    with serving(world.cluster) as kube:
        return world.provider(kube).kept_nodes()


def release(world: World, run: str) -> Sequence[ReleasedNode]:
    with serving(world.cluster) as kube:
        provider = world.provider(kube)
        return provider.release(run, timeout_seconds=600.0, progress=Progress())


def collect(world: World) -> Sequence[Stray]:
    with serving(world.cluster) as kube:
        return world.provider(kube).collect(lambda *run: False, dry_run=False)


def strays_of_living_runs(world: World, *, after_seconds: float) -> list[str]:
    world.seconds = after_seconds
    with serving(world.cluster) as kube:
        found = world.provider(kube).collect(lambda *run: True, dry_run=False)
    return [each.reason for each in found]


def claim(world: World) -> Object:
    (found,) = world.cluster.of_kind("NodeClaim")
    return found


def metadata(world: World) -> Object:
    found: Object = claim(world)["metadata"]
    return found


@pytest.fixture
def world() -> World:
    """A cluster with the node of one run, which ends two hours after it asked for it."""
    world = World()
    world.scripts = [happy]
    world.provision()
    world.seconds = 2 * HOUR
    return world


@pytest.fixture
def kept(world: World) -> World:
    """The same; the run left its node to the next one, for an hour."""
    assert len(keep(world)) == 1
    return world


def test_a_kept_claim_says_until_when_it_waits_and_what_that_costs(world: World) -> None:
    (kept,) = keep(world)
    assert str(kept) == (
        f"{TEXT} until 2026-01-01 03:00 UTC, costs about 3.67 USD/h while it waits"
    )
    assert kept.workspace == "team/phi"
    assert str(kept.used) == f"{TEXT} after 2.00 h, about 7.35 USD"
    labels, annotations = metadata(world)["labels"], metadata(world)["annotations"]
    assert not {RUN_LABEL, WORKFLOW_LABEL} & labels.keys()
    assert labels[KEPT_LABEL] == RUN
    assert annotations["argotune.dev/kept-until"] == "2026-01-01T03:00:00Z"
    assert waiting(world) == [kept]
    assert release(world, RUN) == []
    assert world.cluster.nodes


def test_another_try_of_release_says_the_same_and_changes_nothing(kept: World) -> None:
    kept.seconds += 30
    (again,) = keep(kept)
    assert str(again.used).endswith("after 2.00 h, about 7.35 USD")
    assert sum(each.startswith("PATCH") for each in kept.cluster.requests) == 1


def test_the_next_run_of_the_workspace_takes_the_claim_and_its_waiting_is_its_own(
    kept: World,
) -> None:
    kept.seconds = 2.5 * HOUR
    node = kept.provision(run=NEXT, workflow="phi-next")
    assert (node.name, node.selector) == (f"aks-{NAME}", {NODE_LABEL: NAME})
    assert kept.cluster.nodes[0]["metadata"]["labels"][NODE_LABEL] == NAME
    assert [str(row) for row in node.tried] == [f"{A100} regular (10 s): node aks-{NAME}"]
    assert len(kept.claims) == 1
    labels, annotations = metadata(kept)["labels"], metadata(kept)["annotations"]
    assert (labels[RUN_LABEL], labels[WORKFLOW_LABEL]) == (NEXT, "phi-next")
    assert KEPT_LABEL not in labels
    assert "argotune.dev/kept-until" not in annotations
    assert waiting(kept) == []
    kept.seconds = 4 * HOUR
    assert release(kept, RUN) == []
    (gone,) = release(kept, NEXT)
    assert str(gone) == f"{TEXT} after 2.00 h, about 7.36 USD"
    assert not kept.cluster.nodes


def test_another_try_of_provision_finds_the_claim_that_was_taken(kept: World) -> None:
    kept.provision(run=NEXT)
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: NAME}
    assert len(kept.claims) == 1


def test_a_taken_node_that_is_taken_away_comes_back_under_the_name_that_pods_look_for(
    kept: World,
) -> None:
    kept.provision(run=NEXT)
    kept.cluster.nodes.clear()
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: NAME}
    assert len(kept.claims) == 2
    kept.drop(kept.claims[-1])
    assert kept.provision(run=NEXT, node=NAME).selector == {NODE_LABEL: NAME}


def test_a_claim_may_be_kept_again_in_the_first_half_of_its_lifetime_only() -> None:
    world = World()
    world.scripts = [happy]
    world.provision(lifetime_seconds=10 * HOUR)
    world.seconds = 4.5 * HOUR
    (kept,) = keep(world, seconds=3 * HOUR)
    assert f"{kept.until:%H:%M}" == "05:00"
    world.provision(run=NEXT, lifetime_seconds=10 * HOUR)
    world.seconds = 5.5 * HOUR
    assert keep(world, NEXT) == []
    assert len(release(world, NEXT)) == 1


def test_who_takes_a_claim_has_it_until_their_own_deadline(kept: World) -> None:
    kept.provision(run=NEXT, lifetime_seconds=3 * HOUR)
    assert strays_of_living_runs(kept, after_seconds=4.9 * HOUR) == []
    assert strays_of_living_runs(kept, after_seconds=5.1 * HOUR) == [
        "its time ended at 2026-01-01T05:00:00Z"
    ]


def test_the_deadline_of_one_run_is_not_that_of_the_next(kept: World) -> None:
    kept.provision(run=NEXT, lifetime_seconds=3 * HOUR)
    assert len(keep(kept, NEXT)) == 1
    assert "argotune.dev/deadline" not in metadata(kept)["annotations"]
    kept.provision(run="third", lifetime_seconds=20 * HOUR)
    assert strays_of_living_runs(kept, after_seconds=10 * HOUR) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_types": (A10,)},
        {"capacity_types": ("spot",)},
        {"zones": ("eastus-2",)},
        {"disk_gib": 512},
        {"labels": {"team": "a"}},
        {"workspace": "other"},
        {"namespace": "other"},
        {"lifetime_seconds": 400 * HOUR},
        {"settings": {"karpenter_node_class": "AKSNodeClass/other"}},
    ],
)
def test_a_claim_that_does_not_fit_goes_on_waiting(kept: World, changes: dict[str, Any]) -> None:
    assert kept.provision(run=NEXT, **changes).selector == OWN
    assert [str(each.workspace) for each in waiting(kept)] == ["team/phi"]


def test_a_claim_whose_gpu_or_node_is_gone_is_not_taken(kept: World) -> None:
    kept.cluster.nodes[0]["status"]["allocatable"] = {GPU: "0"}
    assert kept.provision(run=NEXT).selector == OWN
    kept.cluster.nodes[:] = kept.cluster.nodes[1:]
    third = kept.provision(run="third")
    assert third.selector == {NODE_LABEL: claim_name("third")}


def test_a_claim_that_is_being_deleted_is_not_taken(kept: World) -> None:
    metadata(kept)["deletionTimestamp"] = "2026-01-01T02:00:00Z"
    assert kept.provision(run=NEXT).selector == OWN


def test_a_claim_whose_time_is_over_is_not_taken_and_goes(kept: World) -> None:
    kept.seconds = 3 * HOUR - 60
    assert kept.provision(run=NEXT).selector == OWN
    (own, stray) = collect(kept)
    assert own.run == NEXT
    assert stray == Stray(
        what=TEXT,
        run=RUN,
        reason="it was kept until 2026-01-01 03:00 UTC for team/phi",
        gone=True,
    )


def test_a_claim_that_waits_is_not_collected(kept: World) -> None:
    assert collect(kept) == []
    assert len(waiting(kept)) == 1


def test_a_claim_that_another_run_takes_first_is_left_to_it(kept: World) -> None:
    """The other run comes between the look and the change."""
    with serving(kept.cluster) as kube:
        seen = kube.node_claims(KEPT_LABEL)
        kept.provision(run="another")
        assert not kube.change_node_claim(seen[0], {"labels": {RUN_LABEL: NEXT}})
    assert metadata(kept)["labels"][RUN_LABEL] == "another"
    assert kept.provision(run=NEXT).selector == OWN


def test_a_conflict_ends_in_a_claim_of_the_runs_own(kept: World) -> None:
    kept.cluster.faults = [Fault("PATCH", "nodeclaims", 409, "the object has been modified")]
    assert kept.provision(run=NEXT).selector == OWN


def test_an_api_server_that_is_away_for_a_while_is_waited_for(kept: World) -> None:
    kept.cluster.faults = [
        Fault("GET", "nodeclaims", 503, "away", times=2),
        Fault("PATCH", "nodeclaims", 500, "away", times=2),
    ]
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: NAME}


def test_without_the_right_to_change_claims_a_new_one_is_made(kept: World) -> None:
    kept.cluster.faults = [Fault("PATCH", "nodeclaims", 403, "nodeclaims is forbidden")]
    assert kept.provision(run=NEXT).selector == OWN


def test_a_claim_whose_node_is_not_well_is_not_kept(world: World) -> None:
    world.cluster.nodes[0]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert keep(world) == []
    assert len(release(world, RUN)) == 1


def test_a_change_that_somebody_else_made_meanwhile_is_looked_at_again(world: World) -> None:
    world.cluster.faults = [Fault("PATCH", "nodeclaims", 409, "the object has been modified")]
    assert len(keep(world)) == 1


def test_a_refusal_to_keep_is_said(world: World) -> None:
    world.cluster.faults = [Fault("PATCH", "nodeclaims", 403, "nodeclaims is forbidden")]
    with pytest.raises(PermanentError) as caught:
        keep(world)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == f"cannot patch NodeClaim {NAME}: nodeclaims is forbidden"


def test_a_limit_of_cost_ends_the_runs_time_and_not_the_life_of_a_claim_that_is_kept() -> None:
    world = World()
    world.scripts = [happy]
    world.provision(affordable_seconds={A100: 3 * HOUR})
    assert expires_at(claim(world)) == START + timedelta(hours=3)
    assert len(keep(world)) == 1
    lifetime_end = expires_at(claim(world))
    assert lifetime_end is not None
    assert timedelta(0) <= START + timedelta(days=8) - lifetime_end < timedelta(minutes=1)
