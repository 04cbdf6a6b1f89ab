"""Many runs at once for one GPU: all end well, and none takes anything of another."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from argotune.steps.contracts.report import report_tag
from argotune.steps.contracts.versions import CANDIDATE, LIVE, version_tag
from argotune.steps.provenance.statement import statement_tag
from tests.e2e.doubles import Answer
from tests.e2e.runs import ALL_WELL, Run, seconds_between
from tests.e2e.site import QUESTION, Site
from tests.e2e.stories import STORY_SECONDS

pytestmark = [pytest.mark.cluster, pytest.mark.shard3, pytest.mark.timeout(STORY_SECONDS)]

_RUNS = int(os.environ.get("E2E_RUNS_AT_ONCE", "10"))
_RUN_SECONDS = 1200
_CONTROLLER = "workflow-controller"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run and what it left, looked at when it ended."""

    name: str
    run: Run
    volumes: list[str]
    tags: dict[str, str]
    served: str
    """Reference of the adapter that the service says it serves."""
    answer: Answer


def test_runs_at_once_end_well_and_apart(
    site: Site, stories_told: None, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"load-{index}" for index in range(_RUNS)]
    # Of a seed of its own each, so that each adapter is unlike the others.
    runs = [site.submit(site.arguments(name, seed=seed)) for seed, name in enumerate(names)]
    with ThreadPoolExecutor(_RUNS) as pool:
        ended = list(pool.map(lambda pair: _end(site, *pair), zip(names, runs, strict=True)))

    with capsys.disabled():
        print(f"\n{_times(runs)}\n{_controller_memory()}")
    assert len({volume for end in ended for volume in end.volumes}) == _RUNS
    assert len({end.served for end in ended}) == _RUNS
    for end in ended:
        _check(end, site)
    assert [pod for pod in _waited_for_gpu(site) if pod.startswith("load-")]


def _end(site: Site, name: str, run: Run) -> Ended:
    run.running_pod("tune", seconds=_RUN_SECONDS)
    volumes = run.volumes()
    run.ends("Succeeded", seconds=_RUN_SECONDS)
    ended = Ended(
        name=name,
        run=run,
        volumes=volumes,
        tags=site.doubles.tags(site.registry, f"{site.namespace}/{name}"),
        served=site.served(name),
        answer=site.doubles.ask(f"http://{name}/chat", QUESTION),
    )
    site.remove_service(name)
    return ended


def _check(end: Ended, site: Site) -> None:
    digest = end.run.outputs("push")["digest"]
    assert end.tags["1"] == digest
    beside = {report_tag(digest), statement_tag(digest)}
    assert set(end.tags) == {"1", CANDIDATE, LIVE, version_tag(1), *beside}
    assert end.served == f"{site.registry}/{site.namespace}/{end.name}@{digest}"
    assert end.answer.response
    assert end.run.outputs()["endpoint"] == f"http://{end.name}.{site.namespace}.svc"
    assert end.run.phases() == ALL_WELL
    assert len(end.run.tries("release")) == 1
    assert site.service_objects(end.name) == []
    assert end.run.volumes() == []


def _waited_for_gpu(site: Site) -> set[str]:
    """Pods that the scheduler could not place at once for want of a GPU."""
    events = site.cluster.items("v1", "events", fieldSelector="reason=FailedScheduling")
    return {
        event["involvedObject"]["name"]
        for event in events
        if "Insufficient nvidia.com/gpu" in event["message"]
    }


def _times(runs: Sequence[Run]) -> str:
    first = [
        seconds_between(
            run.workflow["metadata"]["creationTimestamp"], run.tries("plan")[0]["startedAt"]
        )
        for run in runs
    ]
    whole = [
        seconds_between(
            run.workflow["metadata"]["creationTimestamp"], run.workflow["status"]["finishedAt"]
        )
        for run in runs
    ]
    return (
        f"{len(runs)} runs at once: submit to first pod {statistics.median(first):.0f} s median,"
        f" {max(first):.0f} s at most; submit to end {statistics.median(whole):.0f} s median,"
        f" {max(whole):.0f} s at most"
    )


def _controller_memory() -> str:
    """Of the controller, where it is a process of this machine."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            name = (directory / "cmdline").read_bytes().split(b"\0")[0].decode()
            status = (directory / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if Path(name).name == _CONTROLLER:
            mib = {key: int(kib) / 1024 for key, kib in re.findall(r"(Vm\w+):\s+(\d+)", status)}
            return f"{_CONTROLLER}: {mib['VmRSS']:.0f} MiB, {mib['VmHWM']:.0f} MiB at most"
    return f"{_CONTROLLER} is no process of this machine"
