"""A model in service without training: it serves the adapter of a run that only pushed, takes in
the adapter of another run while clients ask, and goes. Costs two runs of the real steps, a Workflow
that serves, and one start of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import yaml

from argotune.steps.contracts.versions import CANDIDATE
from tests.e2e.cluster import Object
from tests.e2e.doubles import PUSH_SECRET, Answer, Asked
from tests.e2e.runs import Run
from tests.e2e.site import OUTPUT_CLAIM, QUESTION, RUN_SECONDS, Site
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.shard4, pytest.mark.timeout(STORY_SECONDS)]

_HOST, _PUSHED, _JOINED = "assistant", "only-pushed", "joined"
_CLIENTS = 4


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The runs at their ends, and what clients of the service saw."""

    pushed: Run
    joined: Run
    pushed_tags: dict[str, str]
    pushed_service: list[str]
    printed: str
    """By the submit that put the model in service."""
    answers: dict[str, Answer]
    """By the model that was asked for, with both adapters there."""
    asked: Asked
    """By clients of the base while the second adapter came and went."""
    after: list[str]
    """KIND/NAME of the service's objects when the adapter that joined it had gone."""
    in_the_end: list[str]


@story
def serving(site: Site) -> Serving:
    site.cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump(_claim()))
    changes = {"deploy_to": "none", "output_claim": OUTPUT_CLAIM}
    pushed = site.submit(site.arguments(_PUSHED, steps=40, **changes))
    pushed.ends("Succeeded", seconds=RUN_SECONDS)
    where = f"--namespace={site.namespace}"
    text = _workspace(pushed.outputs()["reference"])
    printed = site.argotune("submit", "-", "--watch", where, text=text, seconds=RUN_SECONDS)
    with site.doubles.keep_asking(f"http://{_HOST}", QUESTION, clients=_CLIENTS) as asked:
        joined = site.submit(site.arguments(_JOINED, steps=40, seed=7, serve_with=_HOST))
        joined.ends("Succeeded", seconds=RUN_SECONDS)
        answers = {
            model: site.doubles.ask(f"http://{_HOST}/chat", QUESTION, model)
            for model in (_HOST, _PUSHED, _JOINED)
        }
        site.argotune("stop", _JOINED, where, "--service")
    after = site.service_objects(_HOST)
    site.remove_service(_HOST)
    return Serving(
        pushed=pushed,
        joined=joined,
        pushed_tags=site.doubles.tags(site.registry, f"{site.namespace}/{_PUSHED}"),
        pushed_service=site.service_objects(_PUSHED),
        printed=printed,
        answers=answers,
        asked=asked,
        after=after,
        in_the_end=site.service_objects(_HOST),
    )


def _claim() -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": OUTPUT_CLAIM},
        "spec": spec,
    }


def _workspace(reference: str) -> str:
    """A Kaito Workspace that serves tiny on a CPU with one adapter."""
    annotations = {"service-gpus": "0", "service-memory": "512Mi", "question": QUESTION}
    source = {"name": _PUSHED, "image": reference, "imagePullSecrets": [PUSH_SECRET]}
    workspace = {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {
            "name": _HOST,
            "annotations": {f"argotune.dev/{key}": value for key, value in annotations.items()},
        },
        "inference": {"preset": {"name": "tiny"}, "adapters": [{"source": source}]},
    }
    return yaml.safe_dump(workspace)


def test_a_run_that_only_pushes_has_a_version_a_copy_and_no_service(serving: Serving) -> None:
    outputs = serving.pushed.outputs()
    digest = outputs["reference"].partition("@")[2]
    assert {tag for tag, each in serving.pushed_tags.items() if each == digest} >= {CANDIDATE, "v1"}
    assert "live" not in serving.pushed_tags
    assert serving.pushed_service == []
    assert outputs["volume"] == f"volume://{OUTPUT_CLAIM}/{_PUSHED}/{digest.replace(':', '-')}"


def test_a_service_without_training_answers_with_its_adapter(serving: Serving) -> None:
    assert re.search(rf"endpoint: +http://{_HOST}\.", serving.printed)
    base, adapter = (serving.answers[model] for model in (_HOST, _PUSHED))
    assert base.response
    assert adapter.response != base.response


def test_an_adapter_joins_a_service_and_leaves_it(serving: Serving) -> None:
    reference = serving.joined.outputs()["reference"]
    answer = serving.answers[_JOINED]
    assert answer.details["adapter"] == reference.partition("@")[2]
    assert answer.response not in {serving.answers[each].response for each in (_HOST, _PUSHED)}
    assert f"deployments/{_HOST}" in serving.after
    assert serving.in_the_end == []


def test_its_clients_notice_nothing_of_that(serving: Serving) -> None:
    assert serving.asked.errors == {}
    assert serving.asked.answers.keys() == {serving.answers[_HOST].response}
