"""Seconds of `argotune status` in a namespace of 500 runs: ``python -m tests.bench.status``.

Each Workflow has 113 kB, as that of a run with all its steps. The other contestant reads every
Workflow whole, as `kubectl get workflows -o json` does, in pages too.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from argotune.steps.cluster.kube import Kube
from argotune.workflows.cli.main import main as argotune
from tests.bench.ratio import median_ratio
from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.cluster_workflows import large_run
from tests.workflows.cli.kubeconfig import use_kubeconfig

RUNS = 500
MOST_SECONDS = 2.0
_ROUNDS = 5


def cluster_of(runs: int) -> Cluster:
    """A namespace of that many large runs, each of a workspace of its own."""
    cluster = Cluster()
    for number in range(runs):
        cluster.put(large_run(f"model{number}-abcde"))
    return cluster


def status() -> None:
    """Print the table of all workspaces into nothing."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        argotune(["status", "-n", "team-a"])


def whole(kube: Kube) -> None:
    """Read every Workflow with all that is in it."""
    assert len(kube.list("Workflow", "team-a")) == RUNS


def seconds_and_bytes(cluster: Cluster, work: Callable[[], None]) -> tuple[float, int]:
    """How long the work takes, and how much the API server sent for it."""
    sent, started = cluster.sent_bytes, time.perf_counter()
    work()
    return time.perf_counter() - started, cluster.sent_bytes - sent


def main() -> int:
    """Print both and fail where the table takes longer than it may."""
    cluster = cluster_of(RUNS)
    with (
        serving(cluster) as kube,
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        use_kubeconfig(patch, Path(directory), cluster.url)
        status()  # imports the client
        ours = [seconds_and_bytes(cluster, status) for _ in range(_ROUNDS)]
        theirs = [seconds_and_bytes(cluster, lambda: whole(kube)) for _ in range(_ROUNDS)]
    ratio = median_ratio([s for s, _ in theirs], [s for s, _ in ours])
    slowest = max(s for s, _ in ours)
    print(
        f"{RUNS} runs: status {slowest:.2f} s at most and {ours[0][1] / 1e6:.1f} MB;"
        f" all Workflows whole take {ratio:.1f} times as long and {theirs[0][1] / 1e6:.1f} MB"
        f" ({_ROUNDS} rounds, {os.cpu_count()} CPUs)"
    )
    return 0 if slowest < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
