"""What a run's node costs, read from the Workflow."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argotune.steps.nodes.ledger import MADE_NODES
from argotune.steps.nodes.provider import Attempt, Placement
from argotune.workflows.cli.show.spending import Spending, kept_node_of, spending_of
from tests.fakes.kube import Cluster
from tests.workflows.cli.cluster_workflows import exit_handler, run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.status import END

A100 = Placement(instance_type="Standard_NC24ads_A100_v4")
SPOT = Placement(instance_type="Standard_NC24ads_A100_v4", capacity_type="spot", zone="1")
HOUR_LATER = datetime.fromisoformat(END) + timedelta(hours=1)


def provision(placement: Placement | None = A100, price: str = "3.6", **outputs: str) -> Any:
    """The step's nodes; it took seven seconds."""
    given = {"accelerator": "1 x A100", "price-usd-per-hour": price}
    given |= {"placement": str(placement or "")}
    return step("provision", "Succeeded", outputs={k: v for k, v in (given | outputs).items() if v})


def spending(*nodes: Any, now: datetime = HOUR_LATER) -> Spending:
    found = spending_of(run_of(*nodes), now)
    assert found is not None
    return found


def test_a_node_costs_from_the_time_when_it_was_asked_for_until_now() -> None:
    found = spending(*provision())
    assert str(found) == "about 3.61 USD: 1.00 h x 3.60 USD/h"
    assert (found.label, found.short) == ("spent so far", "3.61 USD")
    assert found.hours == pytest.approx(1 + 7 / 3600)


def test_the_time_of_refused_alternatives_costs_nothing() -> None:
    refused = Attempt(placement=SPOT, outcome="no machines", seconds=1800.0, tries=2)
    given = Attempt(placement=A100, outcome="node aks-gpu1-vmss000000", seconds=360.0)
    found = spending(*provision(tried=f"{refused}\n{given}"))
    assert found.hours == pytest.approx(1 + 360 / 3600)


def test_a_node_that_was_tried_for_twice_counts_its_last_try() -> None:
    given = Attempt(placement=A100, outcome="node n", seconds=720.0, tries=2)
    assert spending(*provision(tried=str(given))).hours == pytest.approx(1.2)


def test_spot_is_a_bound() -> None:
    found = spending(*provision(SPOT))
    assert str(found) == "at most 3.61 USD: 1.00 h x 3.60 USD/h at most, spot"
    assert found.short == "<= 3.61 USD"


def test_without_a_known_price_there_are_hours_only() -> None:
    found = spending(*provision(price=""))
    assert str(found) == "1.00 h of a GPU node, whose price is not known"
    assert found.short == "1.00 h"


def test_release_knows_better() -> None:
    given = {"node-hours": "0.5", "cost-usd": "1.8", "released": "agent pool gpu1"}
    found = spending(*provision(), *exit_handler("Succeeded", **given))
    assert str(found) == "about 1.80 USD: 0.50 h x 3.60 USD/h"
    assert (found.label, found.is_over) == ("spent", True)


def test_a_node_that_was_taken_away_counts_beside_the_one_that_replaced_it() -> None:
    lost = {"replaced": "1", "placement": str(A100), "price-usd-per-hour": "3.6"}
    lost |= {"node-hours": "0.25", "cost-usd": "0.5"}
    watch = step("watch", "Succeeded", outputs=lost)
    given = {"node-hours": "0.5", "cost-usd": "1.8", "released": "agent pool gpu1"}
    found = spending(*provision(SPOT), *watch, *exit_handler("Succeeded", **given))
    assert found.hours == pytest.approx(0.75)
    assert found.cost_usd == pytest.approx(2.3)
    assert found.is_spot


def test_what_watch_does_not_know_of_a_lost_node_is_estimated_by_time() -> None:
    lost = {"replaced": "1", "placement": str(A100), "price-usd-per-hour": "3.6"}
    watch = step("watch", "Succeeded", outputs=lost)
    given = {"node-hours": "0.5", "cost-usd": "1.8", "released": "agent pool gpu1"}
    found = spending(*provision(SPOT), *watch, *exit_handler("Succeeded", **given))
    assert found.hours == pytest.approx(7 / 3600)


def test_after_release_time_stands_still() -> None:
    nodes = [*provision(), *exit_handler("Succeeded", released="agent pool gpu1")]
    early, late = spending(*nodes), spending(*nodes, now=HOUR_LATER + timedelta(days=1))
    assert early == late
    assert early.hours == pytest.approx(7 / 3600)


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_until_release_is_through_the_node_costs(phase: str) -> None:
    found = spending(*provision(), *exit_handler(phase))
    assert (found.label, found.is_over) == ("spent so far", False)
    assert found.hours > 1


@pytest.mark.parametrize("nodes", [step("provision", "Running"), provision(None, "")])
def test_of_nodes_that_were_there_before_nothing_is_claimed(nodes: Any) -> None:
    assert spending_of(run_of(*nodes), HOUR_LATER) is None


def test_a_run_that_has_not_begun_spent_nothing() -> None:
    assert spending_of({"metadata": {"name": "new"}, "spec": {}}, HOUR_LATER) is None


def test_status_shows_it_in_the_table_and_of_one_run(argotune: Argotune, cluster: Cluster) -> None:
    row = {
        "placement": str(SPOT),
        "priceUsdPerHour": 3.6,
        "since": "2026-01-01T00:00:00Z",
        "until": "2026-01-01T00:30:00Z",
    }
    run = run_of(*provision(SPOT), *exit_handler("Succeeded"), phase="Succeeded")
    text = json.dumps({"run": run["metadata"]["uid"], "nodes": [row]})
    run["metadata"]["annotations"] = {MADE_NODES: text}
    cluster.put(run)
    head, line = argotune("status", "-n", "team-a").out.splitlines()
    assert head.split()[-2:] == ["AGE", "SPENT"]
    assert line.endswith(" <= 1.80 USD")
    one = argotune("status", "-n", "team-a", "my-model").out.splitlines()
    assert "spent: at most 1.80 USD: 0.50 h x 3.60 USD/h at most, spot" in one


def test_the_summary_of_a_watched_run_has_it(argotune: Argotune, cluster: Cluster) -> None:
    given = {"node-hours": "0.5", "cost-usd": "1.8"}
    cluster.put(run_of(*provision(), *exit_handler("Succeeded", **given), phase="Succeeded"))
    answer = argotune("status", "-n", "team-a", "my-model", "--watch")
    assert answer.out.splitlines()[-1] == "spent:       about 1.80 USD: 0.50 h x 3.60 USD/h"


KEPT = "agent pool gpu1 until 2999-01-31 14:05 UTC, costs about 3.67 USD/h while it waits"


def test_what_a_run_left_to_the_next_one_is_shown_while_it_waits(
    argotune: Argotune, cluster: Cluster
) -> None:
    given = {"kept-until": "2999-01-31T14:05:00Z", "released": f"kept {KEPT}"}
    run = run_of(*provision(), *exit_handler("Succeeded", **given), phase="Succeeded")
    cluster.put(run)
    assert f"kept: {KEPT}" in argotune("status", "-n", "team-a", "my-model").out.splitlines()
    summary = argotune("status", "-n", "team-a", "my-model", "--watch").out.splitlines()
    assert f"kept:        {KEPT}" in summary
    assert kept_node_of(run, datetime(2999, 2, 1, tzinfo=UTC)) == ""


def test_where_no_node_was_made_there_is_no_column(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*provision(None, ""), phase="Succeeded"))
    assert "SPENT" not in argotune("status", "-n", "team-a").out
    assert "spent" not in argotune("status", "-n", "team-a", "my-model").out


def test_a_run_that_ended_without_release_says_how_to_get_rid_of_its_node(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*provision(), *exit_handler("Failed"), phase="Failed"))
    lines = argotune("status", "-n", "team-a", "my-model").out.splitlines()
    place = next(at for at, line in enumerate(lines) if line.startswith("spent so far: about "))
    assert lines[place + 1] == "the node may still be there: argotune gc -n team-a"
