"""A run on a cluster, watched over connections that end, break and expire."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterError, ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster as Client
from argotune.workflows.cli.remote.cluster import Silence
from argotune.workflows.cli.remote.mirror import Mirror
from argotune.workflows.cli.remote.states import Outage, states
from argotune.workflows.cli.show.workflow_json import Workflow, phase_of
from tests.fakes.kube import Cluster, Fault, serving
from tests.workflows.cli.cluster_workflows import NAME, run_of, step
from tests.workflows.cli.kubeconfig import use_kubeconfig

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


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("nothing_listens", "seconds"), [(True, 60), (False, 300)])
def test_an_outage_is_told_and_ends_sooner_where_nothing_listens(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    nothing_listens: bool,
    seconds: int,
) -> None:
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:9")
    with pytest.raises(ClusterError) as caught:
        Client().collection("Workflow", "")
    error = caught.value
    assert error.is_refused
    error.is_refused = nothing_listens
    clock = Clock()
    outage = Outage(clock=clock.read, sleep=clock.sleep)
    outage.has_answered = True
    told_at = list[float]()

    def endure() -> None:
        while True:
            outage.wait(error)
            if said := capsys.readouterr().err:
                told_at.append(clock.now)
                assert said == f"{error}; trying again for up to {seconds} s\n"

    with pytest.raises(ClusterError, match="Connection refused"):
        endure()
    assert len(told_at) == 1
    assert told_at[0] < 10
    assert seconds < clock.now < seconds + 15
    outage.is_over()
    assert capsys.readouterr().err == "the cluster answers again\n"


@pytest.mark.parametrize("watch", [lambda: list(states(Client(), NAME)), lambda: mirrored()])
def test_nothing_is_waited_for_where_nothing_has_ever_listened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, watch: Callable[[], object]
) -> None:
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="Connection refused"):
        watch()


def mirrored() -> object:
    return Mirror(Client(), "Workflow", "").objects()


def test_a_mirror_that_is_left_asks_and_says_nothing_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster()
    with serving(cluster):
        use_kubeconfig(monkeypatch, tmp_path, cluster.url)
        cluster.put(run_of(*step("plan", "Running")))
        with Mirror(Client(), "Workflow", "") as mirror:
            assert len(mirror.objects()) == 1
            (thread,) = (each for each in threading.enumerate() if each.name.startswith("mirror"))
            cluster.wait_for(lambda: watches(cluster) == 1)
    thread.join()
    assert capsys.readouterr().err == ""


def test_a_server_that_takes_its_time_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    silence = Silence()
    silence.tell("https://cluster")
    silence.tell("https://cluster")
    assert capsys.readouterr().err == "waiting for an answer of the cluster https://cluster\n"
