"""Spending of a namespace's runs by a label of theirs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from argotune.steps.nodes.ledger import made_nodes, write_made_nodes
from argotune.steps.nodes.made_node import MadeNode
from argotune.workflows.cli.show.spending import spending_of
from argotune.workflows.cli.show.spent_table import spent_rows
from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.cluster_workflows import run_of
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.status import END

NOW = datetime.fromisoformat(END) + timedelta(hours=1)
HOUR = timedelta(hours=1)


def node(hours: float, price: float | None = 2.0, placement: str = "A100 regular") -> MadeNode:
    """One that is gone since now."""
    since = NOW - timedelta(hours=hours)
    return MadeNode(placement=placement, price_usd_per_hour=price, since=since, until=NOW)


def put(cluster: Cluster, name: str, *made: MadeNode, **labels: str) -> Any:
    run = run_of(name=name, phase="Succeeded")
    run["metadata"]["labels"] |= labels
    cluster.put(run)
    if made:
        with serving(cluster) as kube:
            uid = run["metadata"]["uid"]
            write_made_nodes(kube, made, namespace="team-a", workflow=name, run=uid)
    return cluster.objects["Workflow", "team-a", name]


def test_what_is_written_down_of_each_node_is_what_a_run_spent() -> None:
    before = node(3.0, 1.0)
    running = MadeNode(placement="A100 spot", price_usd_per_hour=4.0, since=NOW - HOUR)
    run = put(Cluster(), "phi-aaaaa", before, running)
    assert made_nodes(run) == (before, running)
    found = spending_of(run, NOW)
    assert found is not None
    assert str(found) == "at most 7.00 USD: 4.00 h"
    assert (found.label, found.short) == ("spent so far", "<= 7.00 USD")


def test_runs_are_summed_by_the_value_of_the_label() -> None:
    cluster = Cluster()
    runs = [
        put(cluster, "phi-aaaaa", node(1.0), team="search"),
        put(cluster, "phi-bbbbb", node(2.0), team="ads"),
        put(cluster, "phi-ccccc", node(4.0, placement="A100 spot"), team="search"),
        put(cluster, "phi-ddddd", team="search"),
        put(cluster, "phi-eeeee", node(9.0)),
    ]
    rows = [(r.value, r.runs, r.hours, r.spent) for r in spent_rows(runs, "team", NOW)]
    assert rows == [
        ("search", 3, 5.0, "<= 10.00 USD"),
        ("ads", 1, 2.0, "4.00 USD"),
        ("-", 1, 9.0, "18.00 USD"),
    ]


def test_hours_without_a_price_stand_beside_the_sum() -> None:
    cluster = Cluster()
    runs = [
        put(cluster, "phi-aaaaa", node(1.0), team="ads"),
        put(cluster, "phi-bbbbb", node(0.5, None), team="ads"),
    ]
    (row,) = spent_rows(runs, "team", NOW)
    assert row.spent == "2.00 USD and 0.50 h without a price"


def test_status_shows_the_sums(argotune: Argotune, cluster: Cluster) -> None:
    put(cluster, "phi-aaaaa", node(1.5), team="search")
    answer = argotune("status", "--by", "team", "-n", "team-a")
    assert answer.out.splitlines() == [
        "TEAM    RUNS  NODE HOURS  SPENT   ",
        "search  1     1.50        3.00 USD",
    ]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["phi", "-n", "team-a"], "sums all runs; leave out NAME, --output and --watch"),
        (["--watch", "-n", "team-a"], "sums all runs; leave out NAME, --output and --watch"),
        ([], "nodes are made for runs of a cluster only; name it by -n NAMESPACE, "),
    ],
)
def test_what_cannot_be_summed_is_said(argotune: Argotune, flags: list[str], problem: str) -> None:
    answer = argotune("status", "--by", "team", *flags)
    assert answer.code == 2
    assert answer.errors[0].startswith(f"--by team: {problem}")
