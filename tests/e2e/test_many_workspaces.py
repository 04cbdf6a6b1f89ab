"""Two hundred Workspaces applied at once, with runs without pods: all reach their end. Prints what
the operator took of memory and of the API server; 5 minutes."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operator import (
    API,
    WORKSPACES,
    OperatorProcess,
    apply,
    operating,
    place_for_runs,
    workspace,
)

pytestmark = [pytest.mark.cluster, pytest.mark.weekly, pytest.mark.timeout(2400)]

_LOGGER = logging.getLogger(__name__)
COUNT = 200
_MOST_SECONDS = 1200
_MOST_MEMORY_BYTES = 2**30
"""The limit of the operator's pod."""


def test_two_hundred_workspaces_reach_their_ends(api: httpx.Client, tmp_path: Path) -> None:
    with place_for_runs(api, seconds=2) as cluster, operating(cluster, tmp_path) as operator:
        before = _figures(operator)
        begun = time.monotonic()
        apply(cluster, *(workspace(f"many-{number}") for number in range(COUNT)))
        wait_for(
            "end of all",
            lambda: _ended(cluster) == COUNT,
            seconds=_MOST_SECONDS,
            explain=lambda: f"{_ended(cluster)} have ended\n{operator.log}",
        )
        minutes = (time.monotonic() - begun) / 60
        after = _figures(operator)
        runs = cluster.metadata("argoproj.io/v1alpha1", "workflows")
        assert len(runs) == COUNT
        memory = after["process_resident_memory_bytes"]
        requests = after["argotune_operator_api_requests_total"]
        requests -= before["argotune_operator_api_requests_total"]
        _LOGGER.info(
            "%d Workspaces in %.1f min: %.0f MiB, %.0f requests a minute, %.1f each",
            *(COUNT, minutes, memory / 2**20, requests / minutes, requests / COUNT),
        )
        assert memory < _MOST_MEMORY_BYTES
        begun = time.monotonic()
        cluster.kubectl("delete", WORKSPACES, "--all", f"--timeout={_MOST_SECONDS}s",
                        seconds=_MOST_SECONDS)  # fmt: skip
        _LOGGER.info("deleted in %.0f s", time.monotonic() - begun)


def _figures(operator: OperatorProcess) -> dict[str, float]:
    return wait_for("metrics", lambda: dict(operator.metrics()), seconds=60)


def _ended(cluster: Cluster) -> int:
    """How many Workspaces say of their run that it has succeeded."""
    phases = [
        item.get("status", {}).get("argotune", {}).get("phase")
        for item in cluster.items(API, "workspaces")
    ]
    return phases.count("Succeeded")
