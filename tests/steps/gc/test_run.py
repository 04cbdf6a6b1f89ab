from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import parse_fields
from argotune.steps.common.progress import Progress
from argotune.steps.gc.params import Params, Result
from argotune.steps.gc.run import run
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


class Provider:
    """Has one node of each run, and finds those astray whose run is over."""

    def __init__(self, *runs: str) -> None:
        self.runs = list(runs)

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        raise AssertionError

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        raise AssertionError

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        return ()

    def kept_nodes(self) -> Sequence[KeptNode]:
        return [
            KeptNode(
                used=ReleasedNode(what=f"node of {run}"),
                workspace="team/phi",
                until=datetime(2026, 1, 31, 14, 5, tzinfo=UTC),
            )
            for run in self.runs
            if run == "kept"
        ]

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        over = [run for run in self.runs if not is_alive(run, "team", run)]
        if not dry_run:
            self.runs = [run for run in self.runs if run not in over]
        return [
            Stray(what=f"node of {run}", run=run, reason="its run has ended", gone=not dry_run)
            for run in over
        ]


def is_alive(run: str, namespace: str, workflow: str) -> bool:
    return run in ("alive", "kept")


def test_the_strays_of_all_providers_go() -> None:
    providers = [Provider("alive", "a"), Provider(), Provider("b", "alive")]
    result = run(Params(), progress=Progress(), providers=providers, is_alive=is_alive)
    assert result == Result(
        strays=(
            "node of a: its run has ended, being deleted\n"
            "node of b: its run has ended, being deleted"
        ),
        deleted=2,
        kept="nothing",
    )
    assert [each.runs for each in providers] == [["alive"], [], ["alive"]]


def test_a_dry_run_only_says_what_would_go() -> None:
    provider = Provider("a")
    params = parse_fields(Params, {"dry-run": "true"})
    result = run(params, progress=Progress(), providers=[provider], is_alive=is_alive)
    assert result == Result(
        strays="node of a: its run has ended, still there", deleted=0, kept="nothing"
    )
    assert provider.runs == ["a"]


def test_what_is_kept_for_a_next_run_is_said() -> None:
    provider = Provider("kept")
    result = run(Params(), progress=Progress(), providers=[provider], is_alive=is_alive)
    assert result.kept == (
        "team/phi: node of kept until 2026-01-31 14:05 UTC, costs money while it waits"
    )
    assert result.strays == "nothing"


def test_nothing_is_well() -> None:
    found = run(Params(), progress=Progress(), providers=[], is_alive=is_alive)
    assert found == Result(strays="nothing", deleted=0, kept="nothing")


def test_a_cluster_that_is_none_of_azures_is_refused() -> None:
    with pytest.raises(ParamsError, match="--aks-cluster-id: 'prod' is not /subscriptions/ID"):
        Params(aks_cluster_id="prod")
