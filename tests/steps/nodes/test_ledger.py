from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argotune.steps.nodes.ledger import (
    MADE_NODES,
    accelerator_of,
    made_nodes,
    with_node,
    without_node,
    write_accelerator,
    write_made_nodes,
)
from argotune.steps.nodes.made_node import MadeNode, running_node, spent_usd
from argotune.steps.nodes.provider import Node, Placement
from tests.fakes.kube import Cluster, serving

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def node(price: float | None = 4.0, since: datetime | None = NOON) -> Node:
    return Node(
        name="n",
        accelerator="1 x A100",
        selector={},
        placement=Placement(instance_type="Dear"),
        price_usd_per_hour=price,
        since=since,
    )


def workflow(text: str | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "phi-abc", "namespace": "team", "uid": "uid"}
    if text is not None:
        metadata["annotations"] = {MADE_NODES: text}
    return {"kind": "Workflow", "metadata": metadata, "spec": {}}


def test_what_is_written_is_read_again_but_not_by_a_run_that_got_a_copy() -> None:
    made = with_node(without_node(with_node((), node(), NOON), NOON + HOUR), node(None), NOON)
    cluster = Cluster()
    cluster.put(workflow())
    with serving(cluster) as kube:
        write_made_nodes(kube, made, namespace="team", workflow="phi-abc", run="uid")
        found = kube.workflow("team", "phi-abc")
    assert found is not None
    assert made_nodes(found) == made
    found["metadata"]["uid"] = "resubmitted"
    assert made_nodes(found) == ()


def test_the_gpu_of_a_run_is_read_again_but_not_by_a_run_that_got_a_copy() -> None:
    cluster = Cluster()
    cluster.put(workflow())
    with serving(cluster) as kube:
        write_accelerator(kube, "2 x A100", namespace="team", workflow="phi-abc", run="uid")
        found = kube.workflow("team", "phi-abc")
    assert found is not None
    assert accelerator_of(found) == "2 x A100"
    found["metadata"]["uid"] = "resubmitted"
    assert accelerator_of(found) == ""


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{", '{"run": "uid"}', '{"run": "uid", "nodes": [{"since": 1}]}']
)
def test_what_cannot_be_read_counts_for_nothing(text: str | None) -> None:
    assert made_nodes(workflow(text)) == ()


def test_a_node_that_is_found_again_has_one_row() -> None:
    once = with_node((), node(), NOON + HOUR)
    assert with_node(once, node(), NOON + 2 * HOUR) == once
    assert running_node(once) == MadeNode(
        placement="Dear regular", price_usd_per_hour=4.0, since=NOON
    )


def test_another_node_ends_the_one_before() -> None:
    made = with_node(with_node((), node(), NOON), node(1.0, NOON + 2 * HOUR), NOON + 2 * HOUR)
    assert [row.until for row in made] == [NOON + 2 * HOUR, None]
    assert spent_usd(made, NOON + 3 * HOUR) == 9.0


def test_a_node_that_is_gone_costs_no_more() -> None:
    made = without_node(with_node((), node(), NOON), NOON + HOUR)
    assert running_node(made) is None
    assert without_node(made, NOON + 2 * HOUR) == made
    assert spent_usd(made, NOON + 9 * HOUR) == 4.0


def test_a_price_that_is_not_known_makes_the_sum_unknown() -> None:
    assert spent_usd(with_node((), node(None), NOON), NOON + HOUR) is None
    assert spent_usd((), NOON) == 0.0
