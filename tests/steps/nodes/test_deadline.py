from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.nodes.cost_limit import STOPPING_SECONDS
from argotune.steps.nodes.deadline import (
    FIRST_ASKED,
    Allowance,
    first_request_time,
    note_first_asked,
)
from argotune.steps.nodes.made_node import MadeNode
from argotune.steps.nodes.provider import NodeRequest, Placement
from tests.fakes.kube import Cluster, serving

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REQUEST = NodeRequest(run="uid", gpus=1, timeout_seconds=3300.0)


def workflow(**metadata: Any) -> dict[str, Any]:
    named = {"name": "phi-abc", "namespace": "team", "uid": "uid"}
    return {"kind": "Workflow", "metadata": {**named, **metadata}, "spec": {}}


def note(cluster: Cluster, now: datetime, run: str = "uid") -> datetime:
    with serving(cluster) as kube:
        noted = note_first_asked(kube, namespace="team", workflow="phi-abc", run=run, now=now)
    asked = first_request_time(noted)
    assert asked is not None
    return asked


def test_the_first_time_is_written_down_once() -> None:
    cluster = Cluster()
    cluster.put(workflow())
    assert note(cluster, NOON) == NOON
    assert note(cluster, NOON + HOUR) == NOON
    assert sum(each.startswith("PATCH") for each in cluster.requests) == 1
    found = cluster.objects["Workflow", "team", "phi-abc"]["metadata"]["annotations"]
    assert found == {FIRST_ASKED: "2026-01-01T12:00:00Z"}


def test_a_time_that_argo_resubmit_copied_from_another_run_does_not_count() -> None:
    copied = workflow(
        annotations={FIRST_ASKED: "2026-01-01T12:00:00Z"}, creationTimestamp="2026-01-02T00:00:00Z"
    )
    assert first_request_time(copied) is None
    cluster = Cluster()
    cluster.put(copied)
    now = datetime(2026, 1, 2, 1, tzinfo=UTC)
    assert note(cluster, now) == now


@pytest.mark.parametrize("text", ["", "soon", "2026"])
def test_what_is_no_time_does_not_count(text: str) -> None:
    assert first_request_time(workflow(annotations={FIRST_ASKED: text})) is None


def test_no_node_is_asked_for_a_run_that_was_deleted() -> None:
    cluster = Cluster()
    with pytest.raises(PermanentError, match="was deleted, so no node is asked for"):
        note(cluster, NOON)
    cluster.put(workflow())
    with pytest.raises(PermanentError, match="Workflow team/phi-abc of run other was deleted"):
        note(cluster, NOON, run="other")


def test_a_request_waits_no_longer_than_the_run_may_have_nodes() -> None:
    allowance = Allowance(asked=NOON, lifetime_seconds=7200.0)
    early = allowance.within(REQUEST, NOON + HOUR)
    assert (early.deadline, early.timeout_seconds) == (NOON + 2 * HOUR, 3300.0)
    late = allowance.within(REQUEST, NOON + 1.5 * HOUR)
    assert (late.deadline, late.timeout_seconds) == (NOON + 2 * HOUR, 1800.0)


def test_nothing_is_asked_for_when_the_time_is_over() -> None:
    with pytest.raises(PermanentError) as caught:
        Allowance(asked=NOON, lifetime_seconds=3600.0).within(REQUEST, NOON + HOUR)
    assert str(caught.value) == (
        "the run first asked for a node at 2026-01-01T12:00:00Z and may have nodes for 3600 s "
        "(node-lifetime-seconds), which are over"
    )


DEAR, CHEAP = Placement(instance_type="Dear"), Placement(instance_type="Cheap")
PRICED = replace(
    REQUEST,
    instance_types=("Dear", "Cheap"),
    prices_usd_per_hour={"Dear": 4.0, "Cheap": 1.0},
)


def made(price: float, since: datetime, until: datetime | None = None) -> MadeNode:
    return MadeNode(placement="Dear regular", price_usd_per_hour=price, since=since, until=until)


def limited(max_cost_usd: float, *nodes: MadeNode) -> Allowance:
    return Allowance(
        asked=NOON, lifetime_seconds=86400.0, max_cost_usd=max_cost_usd, made=tuple(nodes)
    )


def test_a_limit_of_cost_is_a_time_for_each_machine_by_its_price() -> None:
    request = limited(8.0).within(PRICED, NOON)
    assert request.deadline_of(DEAR, NOON + HOUR) == NOON + 3 * HOUR
    assert request.deadline_of(CHEAP, NOON + HOUR) == NOON + 9 * HOUR
    assert limited(1e9).within(PRICED, NOON).deadline_of(CHEAP, NOON) == NOON + 24 * HOUR


def test_what_the_nodes_before_have_cost_is_counted_by_the_price_of_each() -> None:
    before = (made(2.0, NOON, NOON + HOUR), made(1.0, NOON + HOUR, NOON + 3 * HOUR))
    request = limited(8.0, *before).within(PRICED, NOON + 3 * HOUR)
    assert request.deadline_of(DEAR, NOON + 3 * HOUR) == NOON + 4 * HOUR


def test_a_run_may_have_its_node_until_its_cost_and_that_of_stopping_reach_the_limit() -> None:
    allowance = limited(10.0, made(2.0, NOON, NOON + HOUR), made(4.0, NOON + HOUR))
    stop_at = NOON + 3 * HOUR - timedelta(seconds=STOPPING_SECONDS)
    assert allowance.over(stop_at - timedelta(seconds=1)) is None
    over = allowance.over(stop_at)
    assert over is not None
    assert (over.setting, over.reason) == (
        "max-cost-usd",
        "the run's nodes have cost 9.80 USD and may cost 10 USD (max-cost-usd), of which 0.20 USD "
        "are kept back for stopping",
    )


def test_nothing_is_asked_for_when_the_money_is_spent() -> None:
    with pytest.raises(PermanentError, match=r"have cost 8.00 USD and may cost 8 USD"):
        limited(8.0, made(4.0, NOON, NOON + 2 * HOUR)).within(PRICED, NOON + 2 * HOUR)


def test_a_limit_of_cost_needs_the_price_of_every_machine() -> None:
    with pytest.raises(ParamsError) as caught:
        limited(8.0).refuse_unpriced(replace(PRICED, prices_usd_per_hour={"Dear": 4.0}))
    assert str(caught.value) == (
        "--max-cost-usd: 8, but the price of Cheap is not known; take machines with a price in "
        "`argotune plan --all`, or limit their time with node-lifetime-seconds"
    )
