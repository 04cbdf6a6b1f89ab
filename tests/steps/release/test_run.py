from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from steps.common.errors import ParamsError
from steps.common.nodes.provider import Gone, Node, NodeRequest, RunIsAlive, Stray
from steps.common.progress import Progress
from steps.release.params import Params, Result
from steps.release.run import run


class Provider:
    """Gives back what it is told to."""

    def __init__(self, *gone: Gone) -> None:
        self.gone = gone
        self.asked: list[tuple[str, float]] = []

    def provision(self, request: NodeRequest, progress: Progress) -> Node:
        raise AssertionError

    def release(self, run: str, *, timeout_seconds: float, progress: Progress) -> Sequence[Gone]:
        self.asked.append((run, timeout_seconds))
        return self.gone

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool) -> Sequence[Stray]:
        raise AssertionError


def test_the_provider_gives_back_the_runs_nodes_with_their_cost() -> None:
    provider = Provider(
        Gone(what="agent pool gpu1", hours=1.5, cost_usd=5.5095),
        Gone(what="agent pool gpu2", hours=0.25, cost_usd=0.92, is_upper_bound=True),
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
        Gone(what="agent pool gpu1", hours=1.5, cost_usd=5.5), Gone(what="agent pool gpu2")
    )
    result = run(Params(run="uid"), progress=Progress(), provider=provider)
    assert result == Result(
        released="agent pool gpu1 after 1.50 h, about 5.50 USD; agent pool gpu2",
        node_hours=None,
        cost_usd=None,
    )


def test_a_run_must_be_named_and_a_cluster_with_aks() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(run="", provider="aks", aks_cluster_id="prod", timeout_seconds=0)
    assert caught.value.problems == [
        "--run: empty; give the run's UID",
        "--timeout-seconds: 0 is not above 0",
        "--aks-cluster-id: 'prod' is not /subscriptions/ID/resourceGroups/GROUP/providers/"
        "Microsoft.ContainerService/managedClusters/NAME",
    ]


@pytest.mark.parametrize("provider", ["local", "existing"])
def test_the_step_says_that_nothing_is_given_back(provider: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "steps.release", "--run=uid", f"--provider={provider}"]
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
