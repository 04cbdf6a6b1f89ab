"""A cluster whose only GPU serves: the service hands it over to a retrain that fails and gets it
back, and to one that replaces its adapter. Costs three runs of the real steps of two to four
optimizer steps each, four starts of a server, and a node of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from argotune.steps.contracts.service_note import NOTE
from tests.e2e.cluster import Object, wait_for
from tests.e2e.nodes import bring
from tests.e2e.runs import Run
from tests.e2e.site import QUESTION, RUN_SECONDS, Site, training_config
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.shard4, pytest.mark.timeout(STORY_SECONDS)]

_NAME = "one-gpu"
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, kw_only=True)
class HandedOver:
    """The runs at their ends, and the service after each and while the second one tuned."""

    first: Run
    failed: Run
    replaced: Run
    during: Object
    """The Deployment."""
    back: Object
    after: Object
    answers: list[str]
    """Before and after the run that failed, and of the adapter that replaced the first."""


@story
def handed_over(site: Site) -> HandedOver:
    label = f"argotune-e2e-one-gpu={site.namespace}"
    machine = bring(f"{site.namespace}-one-gpu", label)
    try:
        return _play(site, label)
    finally:
        site.remove_service(_NAME)
        machine.take_down()


def _play(site: Site, label: str) -> HandedOver:
    def submit(**changes: str) -> Run:
        wanted = {"label_selector": label, "service_gpus": "1"} | changes
        return site.submit(site.arguments(_NAME, **wanted))

    def answer() -> str:
        return site.doubles.ask(f"http://{_NAME}/chat", QUESTION).response

    first = submit().ends("Succeeded", seconds=RUN_SECONDS)
    answers = [answer()]
    failed = submit(
        config=training_config(2, learning_rate=1.0),
        gate="on",
        on_rejected="fail",
        service_during_tuning="hand-over",
    )
    failed.running_pod("tune", seconds=RUN_SECONDS)
    during = _deployment(site)
    failed.ends("Failed", seconds=RUN_SECONDS)
    back = wait_for("the old server", lambda: _available(site), seconds=RUN_SECONDS)
    answers.append(answer())
    replaced = submit(config=training_config(4), service_during_tuning="hand-over")
    replaced.ends("Succeeded", seconds=RUN_SECONDS)
    answers.append(answer())
    return HandedOver(
        first=first,
        failed=failed,
        replaced=replaced,
        during=during,
        back=back,
        after=_deployment(site),
        answers=answers,
    )


def _deployment(site: Site) -> Object:
    found = site.cluster.read("apps/v1", "deployments", _NAME)
    assert found is not None
    return found


def _available(site: Site) -> Object | None:
    found = _deployment(site)
    return found if found["status"].get("availableReplicas") else None


def _gpus(deployment: Object) -> str:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return str(container["resources"]["limits"][_GPU])


def test_the_gpu_is_the_runs_while_it_tunes(handed_over: HandedOver) -> None:
    assert handed_over.during["spec"]["replicas"] == 0
    assert NOTE in handed_over.during["metadata"]["annotations"]


def test_a_run_that_fails_brings_the_old_server_back(handed_over: HandedOver) -> None:
    assert handed_over.failed.outputs("release")["released"] == f"service {_NAME} has its GPU again"
    assert handed_over.back["spec"]["replicas"] == 1
    assert _gpus(handed_over.back) == "1"
    assert NOTE not in handed_over.back["metadata"]["annotations"]
    assert handed_over.answers[0] == handed_over.answers[1]


def test_the_next_adapter_is_served_on_the_gpu(handed_over: HandedOver) -> None:
    assert handed_over.after["spec"]["replicas"] == 1
    assert _gpus(handed_over.after) == "1"
    assert NOTE not in handed_over.after["metadata"]["annotations"]
    assert handed_over.replaced.outputs("release")["released"] == "nothing"
    served = handed_over.after["spec"]["template"]["metadata"]["annotations"]
    assert served["argotune.dev/adapter"] == handed_over.replaced.outputs()["reference"]
