"""A pool that waits for the next run of its workspace."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.common.progress import Progress
from argotune.steps.nodes.aks.pool import pool_name
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import KeptNode
from tests.fakes.arm import Fault
from tests.steps.nodes.aks.azure import A10, A100, H100, RUN, Azure, placement

POOL = pool_name(RUN)
NEXT = "9d2c6f3e-0f0a-4a37-8c5e-7b7f3a0d5c11"
HOUR = 3600.0


def keep(azure: Azure, run: str = RUN, seconds: float = HOUR) -> list[KeptNode]:
    return list(azure.provider().keep(run, seconds=seconds, progress=Progress()))


def strays(azure: Azure) -> list[str]:
    found = azure.provider().collect(lambda *run: True, dry_run=False)
    return [f"{each.run} {each.reason} {each.gone}" for each in found]


@pytest.fixture
def kept(azure: Azure) -> Azure:
    """A cluster in which a run left its node two hours after it asked for it, for an hour."""
    azure.provision()
    azure.time.seconds = 2 * HOUR
    assert len(keep(azure)) == 1
    return azure


def test_a_kept_pool_says_until_when_it_waits_and_what_that_costs(azure: Azure) -> None:
    azure.provision()
    azure.time.seconds = 2 * HOUR
    (kept,) = keep(azure)
    assert str(kept) == (
        f"agent pool {POOL} ({A100} regular) until 2026-09-21 17:13 UTC, costs about 3.67 USD/h "
        "while it waits"
    )
    assert kept.workspace == "team/phi"
    assert str(kept.used).endswith("after 2.00 h, about 7.35 USD")
    assert azure.cloud.pools[POOL].body["properties"]["tags"] == {
        "argotune-namespace": "team",
        "argotune-workspace": "phi",
        "argotune-created": "2026-09-21T14:13:20Z",
        "argotune-expires": "2026-09-29T14:13:20Z",
        "argotune-price-usd-per-hour": "3.673",
        "argotune-kept-from": RUN,
        "argotune-kept-at": "2026-09-21T16:13:20Z",
        "argotune-kept-until": "2026-09-21T17:13:20Z",
    }
    assert azure.provider().kept_nodes() == [kept]
    assert azure.release() == []
    assert list(azure.cloud.pools) == [POOL]


def test_another_try_of_release_says_the_same_and_asks_for_nothing(kept: Azure) -> None:
    puts = len(kept.cloud.asked("PUT"))
    (again,) = keep(kept)
    assert str(again.used).endswith("after 2.00 h, about 7.35 USD")
    assert len(kept.cloud.asked("PUT")) == puts


def test_the_next_run_of_the_workspace_takes_the_pool_and_its_waiting_is_its_own(
    kept: Azure,
) -> None:
    kept.time.seconds = 2.5 * HOUR
    node = kept.provision(run=NEXT, workflow="tune-next")
    assert node.name == f"aks-{POOL}-vmss000000"
    assert node.selector == {NODE_LABEL: POOL}
    assert kept.cluster.nodes[0]["metadata"]["labels"][NODE_LABEL] == POOL
    assert [str(each) for each in node.tried] == [f"{A100} regular (40 s): node {node.name}"]
    tags = kept.cloud.pools[POOL].body["properties"]["tags"]
    assert (tags["argotune-run"], tags["argotune-workflow"]) == (NEXT, "tune-next")
    assert "argotune-kept-until" not in tags
    assert kept.provider().kept_nodes() == []
    kept.time.seconds = 4 * HOUR
    assert kept.release(RUN) == []
    assert kept.release(NEXT) == [
        f"agent pool {POOL} ({A100} regular) after 2.02 h, about 7.42 USD"
    ]
    assert kept.cloud.pools == {}


def test_another_try_of_provision_finds_the_pool_that_was_taken(kept: Azure) -> None:
    kept.provision(run=NEXT)
    puts = len(kept.cloud.asked("PUT"))
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: POOL}
    assert len(kept.cloud.asked("PUT")) == puts


def test_a_taken_node_that_is_taken_away_comes_back_under_the_name_that_pods_look_for(
    kept: Azure,
) -> None:
    kept.provision(run=NEXT)
    kept.takes(kept.cloud.pools[POOL])
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: POOL}
    assert list(kept.cloud.pools) == [POOL]
    assert len(kept.cluster.nodes) == 1


def test_also_when_the_pool_had_gone_before_the_step_was_tried_again(kept: Azure) -> None:
    kept.provision(run=NEXT)
    kept.release(NEXT)
    assert kept.provision(run=NEXT, node=POOL).selector == {NODE_LABEL: POOL}


def test_a_pool_may_be_kept_again_in_the_first_half_of_its_lifetime_only(azure: Azure) -> None:
    azure.provision(lifetime_seconds=10 * HOUR)
    azure.time.seconds = 4.5 * HOUR
    (kept,) = keep(azure, seconds=3 * HOUR)
    assert f"{kept.until:%H:%M}" == "19:13"
    azure.provision(run=NEXT, lifetime_seconds=10 * HOUR)
    azure.time.seconds = 5.5 * HOUR
    assert keep(azure, NEXT) == []
    assert len(azure.release(NEXT)) == 1


def test_who_takes_a_pool_has_it_until_their_own_deadline(kept: Azure) -> None:
    kept.provision(run=NEXT, lifetime_seconds=3 * HOUR)
    kept.time.seconds = 4.9 * HOUR
    assert strays(kept) == []
    kept.time.seconds = 5.1 * HOUR
    assert strays(kept) == [f"{NEXT} its time ended at 2026-09-21 19:13 UTC True"]


def test_the_deadline_of_one_run_is_not_that_of_the_next(kept: Azure) -> None:
    kept.provision(run=NEXT, lifetime_seconds=3 * HOUR)
    assert len(keep(kept, NEXT)) == 1
    assert "argotune-deadline" not in kept.cloud.pools[POOL].body["properties"]["tags"]
    kept.provision(run="third", lifetime_seconds=20 * HOUR)
    kept.time.seconds = 10 * HOUR
    assert strays(kept) == []


def test_nobody_has_a_pool_beyond_its_end(azure: Azure) -> None:
    azure.provision(lifetime_seconds=10 * HOUR)
    keep(azure)
    azure.provision(run=NEXT, lifetime_seconds=15 * HOUR)
    azure.time.seconds = 10.1 * HOUR
    assert strays(azure) == [f"{NEXT} its time ended at 2026-09-22 00:13 UTC True"]


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_types": (H100, A10)},
        {"capacity_types": ("spot",)},
        {"zones": ("2",)},
        {"disk_gib": 512},
        {"labels": {"team": "a"}},
        {"workspace": "other"},
        {"namespace": "other"},
        {"lifetime_seconds": 400 * HOUR},
    ],
)
def test_a_pool_that_does_not_fit_goes_on_waiting(kept: Azure, changes: dict[str, Any]) -> None:
    node = kept.provision(run=NEXT, **changes)
    assert node.selector == {NODE_LABEL: pool_name(NEXT)}
    assert set(kept.cloud.pools) == {POOL, pool_name(NEXT)}
    assert len(kept.provider().kept_nodes()) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"aks_os_sku": "AzureLinux"},
        {"aks_mig_profile": "MIG3g"},
        {"aks_gpu_driver": "None"},
        {"aks_subnet_id": "/subscriptions/s/subnets/gpu"},
    ],
)
def test_a_pool_of_other_settings_goes_on_waiting(kept: Azure, settings: dict[str, Any]) -> None:
    kept.settings = type(kept.settings)(**settings)
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: pool_name(NEXT)}


def test_case_and_what_azure_fills_in_make_no_difference(kept: Azure) -> None:
    properties = kept.cloud.pools[POOL].body["properties"]
    properties |= {"gpuProfile": {"driver": "Install"}, "vnetSubnetID": "/subscriptions/s"}
    node = kept.provision(run=NEXT, instance_types=(A100.upper(),))
    assert node.selector == {NODE_LABEL: POOL}


def test_a_pool_whose_node_is_not_well_or_gone_is_not_taken(kept: Azure) -> None:
    kept.cluster.nodes[0]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: pool_name(NEXT)}
    kept.takes(kept.cloud.pools[POOL])
    assert kept.provision(run="third").selector == {NODE_LABEL: pool_name("third")}


def test_a_pool_whose_time_is_over_is_not_taken_and_goes(kept: Azure) -> None:
    kept.time.seconds = 3 * HOUR - 60
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: pool_name(NEXT)}
    assert strays(kept) == [f"{RUN} it was kept until 2026-09-21 17:13 UTC for team/phi True"]
    kept.time.seconds += 600
    assert strays(kept) == []
    assert list(kept.cloud.pools) == [pool_name(NEXT)]


def test_a_pool_that_waits_is_not_collected_unless_that_is_asked_for(kept: Azure) -> None:
    provider = kept.provider()
    kept.time.sleep(60)
    assert provider.collect(lambda *run: False, dry_run=False) == []
    assert provider.collect(lambda *run: False, dry_run=False, kept_of="other") == []
    (stray,) = provider.collect(lambda *run: False, dry_run=False, kept_of="team")
    assert (stray.run, stray.gone) == (RUN, True)
    assert provider.kept_nodes() == []


def test_a_pool_that_another_run_takes_first_is_left_to_it(kept: Azure) -> None:
    other = "another-run"

    def take_first() -> None:
        kept.passes()
        kept.cloud.faults.clear()
        kept.time.on_sleep = kept.passes
        kept.provision(run=other)

    busy = {"code": "OperationNotAllowed", "message": "another agentpool operation in progress"}
    kept.cloud.faults = [Fault("PUT", POOL, 409, busy)]
    kept.time.on_sleep = take_first
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: pool_name(NEXT)}
    assert kept.cloud.pools[POOL].body["properties"]["tags"]["argotune-run"] == other


def test_an_etag_that_does_not_match_makes_it_look_again(kept: Azure) -> None:
    refusal = {"code": "PreconditionFailed", "message": "the etag does not match"}
    kept.cloud.faults = [Fault("PUT", POOL, 412, refusal)]
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: POOL}
    properties = dict(kept.cloud.pools[POOL].body["properties"])
    changed = kept.cloud.put("/s", POOL, {"properties": properties}, only_new=False, etag="v1")
    assert changed.status == 412


def test_a_request_to_take_it_whose_answer_is_lost_is_found(kept: Azure) -> None:
    kept.cloud.faults = [Fault("PUT", POOL, drop=True, carry_out=True)]
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: POOL}


def test_a_refusal_to_hand_it_over_ends_in_a_pool_of_the_runs_own(kept: Azure) -> None:
    refusal = {"code": "AuthorizationFailed", "message": "no right to write"}
    kept.cloud.faults = [Fault("PUT", POOL, 403, refusal)]
    assert kept.provision(run=NEXT).selector == {NODE_LABEL: pool_name(NEXT)}


def test_a_pool_that_failed_or_whose_node_went_is_not_kept(azure: Azure) -> None:
    azure.provision(capacity_types=("spot",))
    azure.takes(azure.cloud.pools[POOL])
    assert keep(azure) == []
    assert len(azure.release()) == 1


def test_other_operations_are_waited_for_before_it_is_kept(azure: Azure) -> None:
    azure.provision()
    azure.cloud.busy_until = azure.time.seconds + 200
    assert len(keep(azure)) == 1


def test_a_kept_spot_pool_costs_at_most_its_price(azure: Azure) -> None:
    azure.provision(capacity_types=("spot",), spot_max_price_usd_per_hour=1.5)
    (kept,) = keep(azure)
    assert "costs at most 3.67 USD/h while it waits" in str(kept)
    wish: dict[str, Any] = {"run": NEXT, "capacity_types": ("spot",)}
    other = azure.provision(**wish, spot_max_price_usd_per_hour=1.0)
    assert other.selector == {NODE_LABEL: pool_name(NEXT)}
    azure.release(NEXT)
    node = azure.provision(**wish, spot_max_price_usd_per_hour=1.5)
    assert node.placement == placement(capacity_type="spot")
    assert node.selector == {NODE_LABEL: POOL}


def test_a_limit_of_cost_ends_the_runs_time_and_not_the_life_of_a_pool_that_is_kept(
    azure: Azure,
) -> None:
    azure.provision(affordable_seconds={A100: 3 * HOUR})
    azure.time.seconds = 3.1 * HOUR
    (stray,) = azure.provider().collect(lambda *run: True, dry_run=True)
    assert stray.reason == "its time ended at 2026-09-21 17:13 UTC"
    assert len(keep(azure)) == 1
    azure.provision(run=NEXT, affordable_seconds={A100: 2 * HOUR})
    assert list(azure.cloud.pools) == [POOL]
    azure.time.seconds = 5 * HOUR
    assert strays(azure) == []
    azure.time.seconds = 5.2 * HOUR
    assert strays(azure) == [f"{NEXT} its time ended at 2026-09-21 19:19 UTC True"]
