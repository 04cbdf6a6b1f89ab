"""A run that failed goes on by `argo retry`, with other arguments too, and once more by `argo
resubmit`. What of it is Argo's and our YAML's is shown with steps that do nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import yaml

from tests.e2e.cluster import Cluster, argo
from tests.e2e.runs import STEPS, Run
from tests.e2e.site import RUN_SECONDS, argotune
from tests.e2e.stand_in import AGAIN, WORKSPACE, failing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]

_AT_ONCE = 3
_ALL = {*STEPS, "watch"}
# Each takes three runs, a minute and a half beside two others, so the shards share them.
_FAILING = [
    *(pytest.param(step, marks=pytest.mark.shard1) for step in ("dataset", "tune")),
    *(pytest.param(step, marks=pytest.mark.shard2) for step in ("deploy", "plan", "watch")),
    *(pytest.param(step, marks=pytest.mark.shard4) for step in ("model", "provision", "push")),
    pytest.param("evaluate", marks=pytest.mark.shard3),
]
_ANOTHER = ("-p", f"question={AGAIN}")


@dataclass(frozen=True, kw_only=True)
class Retried:
    """Phases of the steps after the failure, a plain retry, and what made it go through."""

    failed: Mapping[str, str]
    again: Mapping[str, str]
    well: Mapping[str, str]
    unexpanded: bool
    """Whether a node was given text with a tag in it."""


@pytest.fixture(scope="module")
def retried_runs(
    cluster: Cluster, stand_ins: None, request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[Retried]]]:
    """Those of the chosen tests."""
    assert {param.values[0] for param in _FAILING} == _ALL - {"release"}
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = [test.callspec.params["step"] for test in tests if test.path == request.path]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {step: pool.submit(_play, cluster, step) for step in chosen}


@pytest.mark.parametrize("step", _FAILING)
def test_a_run_goes_on_by_retry_with_another_argument(
    retried_runs: Mapping[str, Future[Retried]], step: str
) -> None:
    run = retried_runs[step].result()
    assert run.failed[step] == run.again[step] == "Failed"
    assert run.failed["release"] == run.again["release"] == "Succeeded"
    assert run.again == run.failed
    assert {name: run.well[name] for name in _ALL} == dict.fromkeys(_ALL, "Succeeded")
    assert not run.unexpanded


def _play(cluster: Cluster, step: str) -> Retried:
    text = argotune("render", "-", "--template-ref", text=WORKSPACE.format(name=failing(step)))
    made = cluster.create(yaml.safe_load(text))
    run = Run(cluster, made["metadata"]["name"]).ends("Failed", seconds=RUN_SECONDS)
    failed = run.phases()
    argo(cluster.namespace, "retry", run.name)
    again = run.ends("Failed", seconds=RUN_SECONDS).phases()
    if step == "dataset":
        resubmitted = argo(cluster.namespace, "resubmit", run.name, "--output=name", *_ANOTHER)
        run = Run(cluster, resubmitted.split()[-1])
    else:
        argo(cluster.namespace, "retry", run.name, *_ANOTHER)
    well = run.ends("Succeeded", seconds=RUN_SECONDS).phases()
    given = [node.get("inputs") for node in run.nodes()]
    return Retried(failed=failed, again=again, well=well, unexpanded="{{" in json.dumps(given))
