"""A run that failed in any step, on a node that was made for it, goes on by `argo retry`, with
other arguments too, or begins anew by `argo resubmit`. What of it is Argo's and our YAML's is shown
with steps that do nothing."""

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
# Each takes four runs, two minutes beside two others, so the shards share them.
_FAILING = [
    pytest.param("dataset", marks=pytest.mark.shard1),
    *(pytest.param(step, marks=pytest.mark.shard2) for step in ("deploy", "plan")),
    *(pytest.param(step, marks=pytest.mark.shard3) for step in ("evaluate", "tune")),
    pytest.param("provision", marks=pytest.mark.shard4),
    *(pytest.param(step, marks=pytest.mark.shard5) for step in ("model", "push", "watch")),
]
_ANOTHER = ("-p", f"question={AGAIN}")


@dataclass(frozen=True, kw_only=True)
class Retried:
    """Phases of the steps after the failure, after a plain retry, and after what has the run go
    through."""

    failed: Mapping[str, str]
    again: Mapping[str, str]
    retried: Mapping[str, str]
    resubmitted: Mapping[str, str]
    unexpanded: Mapping[str, list[str]]
    """Of the run and of the resubmitted one, the nodes that were given text with a tag in it."""
    changed: Mapping[str, str | None]
    """Arguments of the resubmitted run that the failed one did not have so."""


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
def test_a_failed_run_goes_through_with_another_argument_retried_or_resubmitted(
    retried_runs: Mapping[str, Future[Retried]], step: str
) -> None:
    run = retried_runs[step].result()
    assert run.failed[step] == run.again[step] == "Failed"
    assert run.failed["release"] == run.again["release"] == "Succeeded"
    assert run.again == run.failed
    for well in (run.retried, run.resubmitted):
        assert {name: well[name] for name in _ALL} == dict.fromkeys(_ALL, "Succeeded")
    assert run.unexpanded == {"retried": [], "resubmitted": []}
    assert run.changed == {"question": AGAIN}


def _play(cluster: Cluster, step: str) -> Retried:
    text = argotune("render", "-", "--template-ref", text=WORKSPACE.format(name=failing(step)))
    made = cluster.create(yaml.safe_load(text))
    run = Run(cluster, made["metadata"]["name"]).ends("Failed", seconds=RUN_SECONDS)
    failed, given = run.phases(), _arguments(run)
    # It takes its turn beside the retries.
    name = argo(cluster.namespace, "resubmit", run.name, "--output=name", *_ANOTHER).split()[-1]
    argo(cluster.namespace, "retry", run.name)
    again = run.ends("Failed", seconds=RUN_SECONDS).phases()
    argo(cluster.namespace, "retry", run.name, *_ANOTHER)
    run.ends("Succeeded", seconds=RUN_SECONDS)
    anew = Run(cluster, name).ends("Succeeded", seconds=RUN_SECONDS)
    other = _arguments(anew)
    return Retried(
        failed=failed,
        again=again,
        retried=run.phases(),
        resubmitted=anew.phases(),
        unexpanded={"retried": _unexpanded(run), "resubmitted": _unexpanded(anew)},
        changed={
            name: other.get(name)
            for name in given.keys() | other.keys()
            if given.get(name) != other.get(name)
        },
    )


def _arguments(run: Run) -> dict[str, str]:
    """What the run was given, by who submitted it or by the template."""
    spec = run.workflow["status"]["storedWorkflowTemplateSpec"]
    return {item["name"]: item.get("value", "") for item in spec["arguments"]["parameters"]}


def _unexpanded(run: Run) -> list[str]:
    return [str(n["displayName"]) for n in run.nodes() if "{{" in json.dumps(n.get("inputs"))]
