"""A run that is stopped, terminated or deleted in any of its phases leaves nothing behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import argo, wait_for
from tests.e2e.cluster import run as call
from tests.e2e.runs import ARGO, Run
from tests.e2e.site import Site
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(STORY_SECONDS)]

_RUN_SECONDS = 900
_END_SECONDS = 600
_COLLECT_SECONDS = 300
_AT_ONCE = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """In which phase, and how, a run is ended."""

    phase: str
    how: str

    @property
    def name(self) -> str:
        return f"{self.how}-{self.phase}"


CASES = [
    Case(phase="deploy", how="stop"),
    Case(phase="deploy", how="terminate"),
    Case(phase="deploy", how="delete"),
    Case(phase="tune", how="stop"),
    Case(phase="tune", how="terminate"),
    Case(phase="tune", how="delete"),
    Case(phase="push", how="stop"),
    Case(phase="push", how="terminate"),
    Case(phase="provision", how="stop"),
    Case(phase="dataset", how="stop"),
    Case(phase="plan", how="stop"),
]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What was there at the end of a run, and after its Workflow was deleted."""

    tries: list[str]
    """Phases of the pods of the step in which the run was ended."""
    released: str
    service: list[str]
    tags: Mapping[str, str]
    node_claims: list[str]
    pods_after: list[str]
    volumes_after: list[str]


@story
def ended_runs(site: Site) -> Mapping[str, Future[Ended]]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {case.name: pool.submit(_end, site, case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_run_that_is_ended_leaves_nothing(
    ended_runs: Mapping[str, Future[Ended]], case: Case
) -> None:
    ended = ended_runs[case.name].result()
    assert ended.service == []
    if case.phase != "deploy":  # Before it the image was pushed, and that is whole.
        assert ended.tags == {}
    assert ended.node_claims == []
    assert ended.pods_after == []
    assert ended.volumes_after == []
    if case.how == "stop":
        assert ended.released == "Succeeded"
        # plan may be done before the stop arrives.
        assert ended.tries == ["Failed"] or case.phase == "plan"


def _end(site: Site, case: Case) -> Ended:
    run = site.submit(_arguments(site, case))
    _reach(site, run, case)
    if case.how == "delete":
        run.delete()
        _is_gone(site, run)
    else:
        argo(site.namespace, case.how, run.name)
        run.ends("Failed", seconds=_END_SECONDS)
    service = _left(lambda: site.service_objects(case.name))
    tags = site.doubles.tags(site.failing_registry, f"{_how(case)}/{case.name}")
    if case.how != "delete":
        run.delete()
        _is_gone(site, run)
    return Ended(
        tries=[node["phase"] for node in run.tries(case.phase)],
        released=run.phases().get("release", ""),
        service=service,
        tags=tags,
        node_claims=_node_claims(run),
        pods_after=_left(lambda: [pod["metadata"]["name"] for pod in run.pods()]),
        volumes_after=_left(run.volumes),
    )


def _arguments(site: Site, case: Case) -> dict[str, str]:
    """Of a run that stays in the phase, or long enough."""
    changes = {
        "output-image": site.failing_image(_how(case), case.name),
        "adapter-from": "cache",
    }
    if case.phase == "dataset":
        changes["urls"] = json.dumps([site.dataset("held")])
    if case.phase == "provision":
        changes["label-selector"] = "argotune-e2e=nowhere"
    if case.phase == "deploy":
        # No node has as many, so the service is never ready.
        changes["service-gpus"] = "8"
    steps = 2000 if case.phase == "tune" else 2
    return {**site.arguments(case.name, steps=steps), **changes}


def _how(case: Case) -> str:
    return "held" if case.phase == "push" else "well"


def _reach(site: Site, run: Run, case: Case) -> None:
    """Wait until the run is in the middle of the phase."""
    if case.phase == "plan":
        return
    pod = run.running_pod(case.phase, seconds=_RUN_SECONDS)
    if case.phase == "tune":
        run.says(pod, r" step of=", seconds=_RUN_SECONDS)
    if case.phase == "push":
        upload = f"PUT /v2/held/{case.name}/blobs/"
        _wait(run, "upload", lambda: _any(site.doubles.registry_requests(), upload))
    if case.phase == "deploy":
        _wait(run, "service", lambda: bool(site.service_objects(case.name)))


def _wait(run: Run, what: str, look: Callable[[], bool]) -> None:
    wait_for(f"{what} of {run.name}", look, seconds=_END_SECONDS, explain=run.explain)


def _any(lines: Sequence[str], begin: str) -> bool:
    return any(line.startswith(begin) for line in lines)


def _is_gone(site: Site, run: Run) -> None:
    wait_for(
        f"end of deletion of {run.name}",
        lambda: site.cluster.read(ARGO, "workflows", run.name) is None,
        seconds=_END_SECONDS,
    )


def _left(look: Callable[[], list[str]]) -> list[str]:
    """What is still there after the garbage collector's time."""
    deadline = time.monotonic() + _COLLECT_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def _node_claims(run: Run) -> list[str]:
    """Karpenter's, that belong to the run."""
    if not call("kubectl", "get", "crd", "nodeclaims.karpenter.sh", "--ignore-not-found"):
        return []
    claims = json.loads(call("kubectl", "get", "nodeclaims", "-o", "json"))["items"]
    return [claim["metadata"]["name"] for claim in claims if run.uid in json.dumps(claim)]
