from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import (
    Interrupted,
    ParamsError,
    PermanentError,
    StepError,
    TransientError,
)
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.ledger import made_nodes, write_made_nodes
from argotune.steps.nodes.made_node import MadeNode
from argotune.steps.nodes.provider import (
    KeptNode,
    Node,
    NodeRequest,
    OnWait,
    ReleasedNode,
    RunIsAlive,
    Stray,
    ignore_wait,
)
from argotune.steps.release.params import Params, Result
from argotune.steps.release.run import run
from tests.fakes.kube import Cluster, Fault, serving


class Provider:
    """Gives back what it is told to."""

    def __init__(self, *gone: ReleasedNode, kept: KeptNode | StepError | None = None) -> None:
        self.gone = gone
        self.kept_node = kept
        self.asked: list[tuple[str, float]] = []

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        raise AssertionError

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        self.asked.append((run, timeout_seconds))
        return self.gone

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        assert (run, seconds) == ("uid", 3600)
        if isinstance(self.kept_node, StepError):
            raise self.kept_node
        return () if self.kept_node is None else (self.kept_node,)

    def kept_nodes(self) -> Sequence[KeptNode]:
        raise AssertionError

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        raise AssertionError


def test_the_provider_gives_back_the_runs_nodes_with_their_cost() -> None:
    provider = Provider(
        ReleasedNode(what="agent pool gpu1", hours=1.5, cost_usd=5.5095),
        ReleasedNode(what="agent pool gpu2", hours=0.25, cost_usd=0.92, is_upper_bound=True),
    )
    result = run(Params(run="uid", timeout_seconds=60), progress=Progress(), provider=provider)
    assert provider.asked == [("uid", 60)]
    assert result.released == (
        "agent pool gpu1 after 1.50 h, about 5.51 USD; "
        "agent pool gpu2 after 0.25 h, at most 0.92 USD"
    )
    assert result.node_hours == 1.75
    assert result.cost_usd == pytest.approx(6.4295)


def test_a_cost_that_is_not_known_in_whole_is_not_said() -> None:
    provider = Provider(
        ReleasedNode(what="agent pool gpu1", hours=1.5, cost_usd=5.5),
        ReleasedNode(what="agent pool gpu2"),
    )
    result = run(Params(run="uid"), progress=Progress(), provider=provider)
    assert result == Result(
        released="agent pool gpu1 after 1.50 h, about 5.50 USD; agent pool gpu2",
        kept_until="",
        node_hours=None,
        cost_usd=None,
    )


KEPT = KeptNode(
    used=ReleasedNode(what="agent pool gpu1", hours=1.5, cost_usd=5.5),
    workspace="team/phi",
    until=datetime(2026, 1, 31, 14, 5, tzinfo=UTC),
    price_usd_per_hour=3.673,
)


def test_a_node_that_is_kept_says_until_when_and_what_it_costs() -> None:
    params = Params(run="uid", status="Succeeded", keep_node_seconds=3600)
    assert run(params, progress=Progress(), provider=Provider(kept=KEPT)) == Result(
        released=(
            "kept agent pool gpu1 until 2026-01-31 14:05 UTC, costs about 3.67 USD/h while it waits"
        ),
        kept_until="2026-01-31T14:05:00Z",
        node_hours=1.5,
        cost_usd=5.5,
    )


def test_without_a_known_price_it_is_said_that_it_costs() -> None:
    assert str(replace(KEPT, price_usd_per_hour=None)).endswith("UTC, costs money while it waits")


@pytest.mark.parametrize(
    ("status", "keep_node_seconds"),
    [("Failed", 3600), ("Error", 3600), ("", 3600), ("Succeeded", 0)],
)
def test_only_a_run_that_succeeded_and_wishes_it_keeps_its_node(
    status: str, keep_node_seconds: float
) -> None:
    provider = Provider(ReleasedNode(what="agent pool gpu1"), kept=Interrupted("asked to keep"))
    params = Params(run="uid", status=status, keep_node_seconds=keep_node_seconds)
    assert run(params, progress=Progress(), provider=provider).released == "agent pool gpu1"


@pytest.mark.parametrize("error", [PermanentError("no right"), TransientError("Azure is away")])
def test_a_node_that_cannot_be_kept_is_given_back(error: StepError) -> None:
    provider = Provider(ReleasedNode(what="agent pool gpu1"), kept=error)
    params = Params(run="uid", status="Succeeded", keep_node_seconds=3600)
    result = run(params, progress=Progress(), provider=provider)
    assert (result.released, result.kept_until) == ("agent pool gpu1", "")


def test_a_run_must_be_named_and_a_cluster_with_aks() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(
            run="", provider="aks", aks_cluster_id="prod", timeout_seconds=0, keep_node_seconds=-1
        )
    assert caught.value.problems == [
        "--run: empty; give the run's UID",
        "--timeout-seconds: 0 is not above 0",
        "--keep-node-seconds: -1 is less than 0",
        "--aks-cluster-id: 'prod' is not /subscriptions/ID/resourceGroups/GROUP/providers/"
        "Microsoft.ContainerService/managedClusters/NAME",
    ]


@pytest.mark.parametrize("provider", ["local", "existing"])
def test_the_step_says_that_nothing_is_given_back(provider: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "argotune.steps.release",
        "--run=uid",
        f"--provider={provider}",
    ]
    done = subprocess.run(
        [*command, f"--outputs-dir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "released").read_text() == "nothing"
    assert f"released provider={provider} what=nothing" in done.stderr


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HAD = MadeNode(placement="A100 regular", price_usd_per_hour=4.0, since=NOON)
WORKFLOW = {"name": "w", "namespace": "team", "uid": "uid"}


def release_at_one(cluster: Cluster, *gone: ReleasedNode, kept: KeptNode | None = None) -> Result:
    """What a run gives back an hour after noon; its node stands at its Workflow."""
    params = Params(
        run="uid",
        workflow="w",
        namespace="team",
        status="Succeeded",
        keep_node_seconds=3600,
        provider="karpenter",
    )
    with serving(cluster) as kube:
        return run(
            params,
            progress=Progress(),
            provider=Provider(*gone, kept=kept),
            kube=kube,
            clock=Clock(wall=(NOON + timedelta(hours=1)).timestamp),
        )


@pytest.fixture
def cluster() -> Cluster:
    found = Cluster()
    found.put({"kind": "Workflow", "metadata": dict(WORKFLOW)})
    with serving(found) as kube:
        write_made_nodes(kube, [HAD], namespace="team", workflow="w", run="uid")
    return found


def until(cluster: Cluster) -> datetime | None:
    (node,) = made_nodes(cluster.objects["Workflow", "team", "w"])
    return node.until


@pytest.mark.parametrize(
    ("gone", "kept"), [((ReleasedNode(what="pool"),), None), ((), KEPT), ((), None)]
)
def test_that_the_run_has_its_node_no_more_is_written_down(
    cluster: Cluster, gone: Sequence[ReleasedNode], kept: KeptNode | None
) -> None:
    release_at_one(cluster, *gone, kept=kept)
    assert until(cluster) == NOON + timedelta(hours=1)


def test_an_api_server_that_takes_nothing_down_does_not_fail_the_step(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.faults = [Fault("PATCH", "/workflows/", 403, "no right")]
    assert release_at_one(cluster, ReleasedNode(what="pool")).released == "pool"
    assert "cannot-write-down" in caplog.text
    assert until(cluster) is None


def test_nodes_that_watch_gave_back_are_in_the_report(cluster: Cluster) -> None:
    lost = replace(HAD, placement="A10 spot", until=NOON + timedelta(minutes=15))
    last = replace(HAD, since=NOON, until=NOON + timedelta(minutes=30))
    with serving(cluster) as kube:
        write_made_nodes(kube, [lost, last], namespace="team", workflow="w", run="uid")
    result = release_at_one(cluster)
    assert result.released == (
        "node (A10 spot) after 0.25 h, at most 1.00 USD; "
        "node (A100 regular) after 0.50 h, about 2.00 USD"
    )
    assert (result.node_hours, result.cost_usd) == (0.75, 3.0)


def test_a_node_that_was_kept_before_an_approval_is_counted_once(cluster: Cluster) -> None:
    before = release_at_one(
        cluster, kept=replace(KEPT, used=ReleasedNode(what="pool", hours=1.0, cost_usd=4.0))
    )
    after = release_at_one(cluster, kept=KEPT)
    assert (before.node_hours, before.cost_usd) == (after.node_hours, after.cost_usd) == (1.0, 4.0)
    assert after.kept_until == before.kept_until == "2026-01-31T14:05:00Z"
    assert "kept agent pool gpu1 until" in after.released


def test_a_workflow_that_cannot_be_read_does_not_keep_the_node(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.faults = [Fault("GET", "/workflows/", 403, "no right")]
    assert release_at_one(cluster, ReleasedNode(what="pool")).released == "pool"
    assert "cannot-read-nodes" in caplog.text
