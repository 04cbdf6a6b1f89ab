"""A run on a cluster, watched over connections that end, break and expire."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster as Client
from argotune.workflows.cli.remote.states import states
from argotune.workflows.cli.show.workflow_json import Workflow, phase_of
from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.cluster_workflows import NAME, run_of, step

WATCH = "watch=true"


def begin(cluster: Cluster) -> Iterator[Workflow]:
    """Put a run, and look at its first state."""
    cluster.put(run_of(*step("plan", "Running")))
    return states(Client(), NAME)


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread."""
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def watches(cluster: Cluster) -> int:
    return sum(WATCH in request for request in cluster.requests)


def put_when_watched(cluster: Cluster, run: Workflow, count: int = 1) -> Callable[[], None]:
    def put() -> None:
        cluster.wait_for(lambda: watches(cluster) >= count)
        cluster.put(dict(run))

    return put


def test_each_change_is_a_state_and_the_end_is_the_last(cluster: Cluster) -> None:
    found = begin(cluster)
    assert phase_of(next(found)) == "Running"
    with meanwhile(put_when_watched(cluster, run_of(*step("plan", "Succeeded")))):
        assert next(found)["status"]["nodes"]["plan"]["phase"] == "Succeeded"
    cluster.put(run_of(phase="Failed"))
    assert [phase_of(state) for state in found] == ["Failed"]


def test_a_run_that_has_ended_is_not_watched(cluster: Cluster) -> None:
    cluster.put(run_of(phase="Succeeded"))
    assert [phase_of(state) for state in states(Client(), NAME)] == ["Succeeded"]
    assert watches(cluster) == 0


def test_other_runs_are_not_looked_at(cluster: Cluster) -> None:
    found = begin(cluster)
    next(found)
    cluster.put(run_of(phase="Failed", name="other-abcde"))
    cluster.put(run_of(phase="Succeeded"))
    assert [phase_of(state) for state in found] == ["Succeeded"]


@pytest.mark.parametrize("what", ["end", "reset", "expired"])
def test_a_watch_that_ends_is_begun_again(cluster: Cluster, what: str) -> None:
    found = begin(cluster)
    cluster.watches = [what, what]
    next(found)
    cluster.put(run_of(*step("plan", "Succeeded")))
    cluster.put(run_of(phase="Succeeded"))
    assert [phase_of(state) for state in found][-1] == "Succeeded"
    assert len(cluster.watches) < 2


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_server_that_is_busy_is_asked_again(cluster: Cluster, status: int) -> None:
    found = begin(cluster)
    next(found)
    cluster.faults.append(Fault("GET", WATCH, status))
    cluster.put(run_of(phase="Succeeded"))
    assert [phase_of(state) for state in found][-1] == "Succeeded"


def test_a_version_that_is_too_old_is_read_anew(cluster: Cluster) -> None:
    found = begin(cluster)
    next(found)
    cluster.faults.append(Fault("GET", WATCH, 410, message="too old resource version"))
    cluster.put(run_of(phase="Succeeded"))
    assert [phase_of(state) for state in found] == ["Succeeded"]
    assert sum(f"workflows/{NAME}" in request for request in cluster.requests) == 2


def test_a_right_that_is_missing_ends_it(cluster: Cluster) -> None:
    found = begin(cluster)
    next(found)
    cluster.faults.append(Fault("GET", WATCH, 403, message="cannot watch"))
    with pytest.raises(
        ClusterRefusal, match=f"Workflow {NAME}: the cluster answers 403: cannot watch"
    ):
        next(found)


def test_a_run_that_is_deleted_ends_it(cluster: Cluster) -> None:
    found = begin(cluster)
    next(found)
    cluster.take("Workflow", "team-a", NAME)
    with pytest.raises(CliError, match=f"run {NAME} was deleted from namespace team-a"):
        next(found)


def test_a_run_that_is_gone_when_looked_for_again(cluster: Cluster) -> None:
    found = begin(cluster)
    cluster.watches = ["expired"]
    next(found)
    del cluster.objects["Workflow", "team-a", NAME]
    with pytest.raises(CliError, match=f"run {NAME} is not in namespace team-a any more"):
        next(found)


def test_time_passes_although_nothing_happens(cluster: Cluster) -> None:
    found = begin(cluster)
    cluster.watches = ["end"]
    first = next(found)
    assert next(found) == first
