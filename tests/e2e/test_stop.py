"""A run that is stopped, terminated or deleted leaves nothing behind. What Argo and our YAML do
about it is shown for every step with steps that do nothing; what the real steps do when they are
told to end, with one run that is stopped in the last of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from argotune.steps.contracts.report import report_tag
from argotune.steps.contracts.versions import CANDIDATE
from argotune.steps.provenance.statement import statement_tag
from tests.e2e.cluster import Cluster, argo, wait_for
from tests.e2e.runs import ARGO, Run
from tests.e2e.site import RUN_SECONDS, Site, workflow
from tests.e2e.stand_in import arguments_of, held
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(STORY_SECONDS)]

_END_SECONDS = 600
_COLLECT_SECONDS = 300
_AT_ONCE = 3
_STEPS = ("plan", "dataset", "provision", "tune", "evaluate", "push", "deploy")
CASES = [*(("stop", step) for step in _STEPS), ("terminate", "tune"), ("delete", "tune")]
"""How a run is ended, and in which step."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What was there at the end of a run, and after its Workflow was deleted."""

    tries: list[str]
    """Phases of the pods of the step in which the run was ended."""
    begun: list[str]
    """Steps that had pods."""
    released: str
    pods_after: list[str]
    volumes_after: list[str]


@pytest.fixture(scope="module")
def ended_runs(
    cluster: Cluster, stand_ins: None, request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[Ended]]]:
    """Those of the chosen tests."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = {
        test.callspec.id
        for test in tests
        if test.path == request.path and hasattr(test, "callspec")
    }
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {
            held(step, how): pool.submit(_end, cluster, how, step)
            for how, step in CASES
            if f"{how}-{step}" in chosen
        }


@pytest.mark.shard1
@pytest.mark.parametrize(("how", "step"), CASES)
def test_run_that_is_ended_leaves_nothing(
    ended_runs: Mapping[str, Future[Ended]], how: str, step: str
) -> None:
    ended = ended_runs[held(step, how)].result()
    later = _STEPS[_STEPS.index(step) + 1 :]
    assert [name for name in later if name in ended.begun] == []
    assert ended.pods_after == []
    assert ended.volumes_after == []
    if how != "delete":
        assert ended.tries == ["Failed"]
    if how == "stop":
        assert ended.released == "Succeeded"


def _end(cluster: Cluster, how: str, step: str) -> Ended:
    name = held(step, how)
    made = cluster.create(workflow(arguments_of(name)))
    run = Run(cluster, made["metadata"]["name"])
    run.running_pod(step, seconds=RUN_SECONDS)
    if how != "delete":
        argo(cluster.namespace, how, run.name)
        run.ends("Failed", seconds=_END_SECONDS)
    _delete(cluster, run)
    return Ended(
        tries=[node["phase"] for node in run.tries(step)],
        begun=[node["templateName"] for node in run.nodes() if node["type"] == "Pod"],
        released=run.phases().get("release", ""),
        pods_after=_left(lambda: [pod["metadata"]["name"] for pod in run.pods()]),
        volumes_after=_left(run.volumes),
    )


def _delete(cluster: Cluster, run: Run) -> None:
    run.delete()
    wait_for(
        f"end of deletion of {run.name}",
        lambda: cluster.read(ARGO, "workflows", run.name) is None,
        seconds=_END_SECONDS,
    )


def _left(look: Callable[[], list[str]]) -> list[str]:
    """What is still there after the garbage collector's time."""
    deadline = time.monotonic() + _COLLECT_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


@dataclass(frozen=True, kw_only=True)
class StoppedInDeploy:
    """A run of the real steps that was stopped while its service came up."""

    run: Run
    tags: Mapping[str, str]
    had: list[str]
    service: list[str]
    """KIND/NAME of the service's objects, when it was stopped and at the end."""
    volumes: list[str]


@story
def stopped_in_deploy(site: Site) -> StoppedInDeploy:
    name = "stopped-in-deploy"
    # No node has as many, so the service is never ready.
    run = site.submit({**site.arguments(name), "service-gpus": "8", "adapter-from": "cache"})
    run.running_pod("deploy", seconds=RUN_SECONDS)
    had = wait_for(
        f"service of {run.name}",
        lambda: site.service_objects(name),
        seconds=_END_SECONDS,
        explain=run.explain,
    )
    site.argotune("stop", run.name, f"--namespace={site.namespace}", seconds=_END_SECONDS)
    run.ends("Failed", seconds=_END_SECONDS)
    service = _left(lambda: site.service_objects(name))
    tags = site.doubles.tags(site.registry, f"{site.namespace}/{name}")
    _delete(site.cluster, run)
    return StoppedInDeploy(run=run, tags=tags, had=had, service=service, volumes=_left(run.volumes))


@pytest.mark.smoke
def test_run_that_is_stopped_in_deploy_leaves_its_image_and_no_service(
    stopped_in_deploy: StoppedInDeploy,
) -> None:
    run = stopped_in_deploy.run
    assert stopped_in_deploy.had
    assert stopped_in_deploy.service == []
    digest = run.outputs("push")["digest"]
    assert stopped_in_deploy.tags["1"] == digest
    # None of the versions' tags: it has never been in service.
    beside = {report_tag(digest), statement_tag(digest)}
    assert set(stopped_in_deploy.tags) == {"1", CANDIDATE, *beside}
    assert [node["phase"] for node in run.tries("deploy")] == ["Failed"]
    assert run.phases()["release"] == "Succeeded"
    assert stopped_in_deploy.volumes == []
