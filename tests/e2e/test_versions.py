"""A service over three trainings: a good one, a bad one that does not go live, a better one that a
person lets go live, and the way back; then it is restarted, and its pods leave their nodes. Eight
clients ask meanwhile, a scorer of the user's judges the first one, a webhook is told of it, and in
the end both versions are measured beside their base. Costs three runs of the real steps, a
rollback, an evaluation, and four starts of a server, about three minutes on two cores."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from argotune.steps.contracts.versions import rejected_tag
from tests.e2e.cluster import CALL_SECONDS, Object, argo_server, wait_for
from tests.e2e.doubles import NOTIFY_SECRET, PUSH_SECRET, Asked
from tests.e2e.runs import Run
from tests.e2e.site import QUESTION, RUN_SECONDS, SCORER, Site, scorer_image, training_config
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.shard2, pytest.mark.timeout(STORY_SECONDS)]

_NAME = "versions"
_URL = f"http://{_NAME}"
_CLIENTS = 8
_ROLLOUT_SECONDS = 600
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The runs at their ends, and what the service was like after each."""

    good: Run
    bad: Run
    approved: Run
    asked: Asked
    """By a client from before the bad run until after it."""
    asked_all_the_time: Asked
    """By eight clients while another adapter went into service, was rolled back and restarted, and
    while its pods were evicted."""
    answers: dict[str, str]
    """The service's answer to one question after each."""
    served: dict[str, str]
    """Reference of its adapter after each."""
    tags: dict[str, str]
    """Of the repository in the end."""
    told: list[Object]
    """What the webhook got of the good run."""
    losses: list[float]
    """Of the base, the one in service and the one before it, as `argotune evaluate` shows them."""


@story
def versions(site: Site) -> Versions:
    answers: dict[str, str] = {}
    served: dict[str, str] = {}

    def look(when: str) -> None:
        answers[when] = site.doubles.ask(f"http://{_NAME}/chat", QUESTION).response
        served[when] = site.served(_NAME)

    good = _submit(site, steps=40, checks=_checks(), notify_secret=NOTIFY_SECRET)
    good.ends("Succeeded", seconds=RUN_SECONDS)
    told = site.doubles.told()
    look("good")
    with site.doubles.keep_asking(_URL, QUESTION) as asked:
        bad = _submit(site, steps=8, learning_rate=1.0)
        bad.ends("Succeeded", seconds=RUN_SECONDS)
    look("bad")
    approved = _submit(site, steps=80, approval="required")
    node = _approval_that_waits(approved)
    with site.doubles.keep_asking(_URL, QUESTION, clients=_CLIENTS) as all_the_time:
        _approve_as_the_ui_does(site, approved, node)
        approved.ends("Succeeded", seconds=RUN_SECONDS)
        look("approved")
        where = f"--namespace={site.namespace}"
        begun = time.monotonic()
        site.argotune("rollback", _NAME, "v1", where, seconds=RUN_SECONDS)
        _LOGGER.info("rolled back in %.1f s", time.monotonic() - begun)
        look("rolled back")
        site.cluster.kubectl("rollout", "restart", f"deployment/{_NAME}")
        _rolled_out(site)
        _drain(site)
    losses = _evaluate(site)
    tags = site.doubles.tags(site.registry, f"{site.namespace}/{_NAME}")
    site.remove_service(_NAME)
    return Versions(
        good=good,
        bad=bad,
        approved=approved,
        asked=asked,
        asked_all_the_time=all_the_time,
        answers=answers,
        served=served,
        tags=tags,
        told=told,
        losses=losses,
    )


def _submit(
    site: Site,
    *,
    steps: int,
    learning_rate: float = 5.0e-3,
    checks: Sequence[Object] = (),
    **changes: str,
) -> Run:
    config = training_config(steps, learning_rate=learning_rate, checks=checks)
    return site.submit(site.arguments(_NAME, config=config, gate="on", **changes))


def _checks() -> list[Object]:
    """Two of the scorer, which may not reach the webhook's pod or any other."""
    if scorer_image() is None:
        return []
    forbidden = {"FORBIDDEN_URL": "http://webhook/"}
    check = {"kind": "scorer", "scorer": SCORER, "args": ["1"], "env": forbidden, "min": 0.5}
    return [check, {**check, "name": "again"}]


def _evaluate(site: Site) -> list[float]:
    image = site.image(_NAME).rpartition(":")[0]
    where = (f"--namespace={site.namespace}", "--wait", "--allow-cpu")
    settings = {
        "label-selector": site.node_selector,
        "push-secret": PUSH_SECRET,
        "tune-cpu": "200m",
        "tune-memory": "2Gi",
    }
    node = [f"--set={name}={value}" for name, value in settings.items()]
    models = ("tiny", _NAME, f"{image}:v2")
    said = site.argotune(
        "evaluate", *models, "--data", site.dataset, *where, *node, seconds=RUN_SECONDS
    )
    return [float(loss) for loss in re.findall(r"^\S+ +(\d+\.\d{4}) ", said, re.MULTILINE)]


def _rolled_out(site: Site) -> None:
    timeout = f"--timeout={_ROLLOUT_SECONDS}s"
    site.cluster.kubectl(
        "rollout", "status", f"deployment/{_NAME}", timeout, seconds=_ROLLOUT_SECONDS + 30
    )


def _drain(site: Site) -> None:
    """Evict both pods of two replicas as soon as the budget lets them go, as drains of nodes do."""
    site.cluster.kubectl("scale", f"deployment/{_NAME}", "--replicas=2")
    _rolled_out(site)
    pods = site.cluster.items("v1", "pods", labelSelector=f"argotune.dev/service={_NAME}")
    names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    assert len(names) == 2
    for name in names:
        wait_for(
            f"eviction of {name}",
            lambda: site.cluster.try_evict(name),  # noqa: B023
            seconds=_ROLLOUT_SECONDS,
        )
    _rolled_out(site)


def _approval_that_waits(run: Run) -> Object:
    def waiting() -> Object | None:
        run.refresh()
        nodes = [each for each in run.nodes() if each["type"] == "Suspend"]
        return next((each for each in nodes if each["phase"] == "Running"), None)

    return wait_for("approval", waiting, seconds=RUN_SECONDS, explain=run.explain)


def _approve_as_the_ui_does(site: Site, run: Run, node: Object) -> None:
    """Fill in the node's form and resume it, by Argo's API."""
    path = f"/api/v1/workflows/{site.namespace}/{run.name}"
    about = {"namespace": site.namespace, "name": run.name}
    about["nodeFieldSelector"] = f"id={node['id']}"
    answer = json.dumps({"decision": "approve"})
    with argo_server() as server:
        said = server.put(f"{path}/set", json={**about, "outputParameters": answer})
        assert said.is_success, said.text
        said = server.put(f"{path}/resume", json=about, timeout=CALL_SECONDS)
        assert said.is_success, said.text


def test_a_worse_adapter_is_kept_back_and_its_run_succeeds(versions: Versions) -> None:
    outputs = versions.bad.outputs()
    assert (outputs["verdict"], outputs["outcome"]) == ("rejected", "kept v1")
    # The same weights on the same rows.
    assert outputs["live-loss"] == versions.good.outputs("evaluate")["new-loss"]
    assert outputs["endpoint"] == ""
    assert versions.served["bad"] == versions.served["good"]


def test_a_client_sees_the_good_version_alone_and_no_error(versions: Versions) -> None:
    assert versions.asked.errors == {}
    assert versions.asked.answers.keys() == {versions.answers["good"]}


def test_rollouts_restarts_and_drains_lose_no_request(versions: Versions) -> None:
    """None failed and no stream was cut off, though no client asked twice."""
    asked = versions.asked_all_the_time
    assert asked.errors == {}
    assert sum(asked.answers.values()) > 10 * _CLIENTS
    assert asked.answers.keys() == {versions.answers[each] for each in ("good", "approved")}


def test_a_better_one_goes_live_when_it_is_approved(versions: Versions) -> None:
    outputs = versions.approved.outputs()
    assert (outputs["verdict"], outputs["approval"]) == ("passed", "approve")
    assert versions.served["approved"] == outputs["reference"]
    assert versions.served["approved"] != versions.served["good"]


def test_a_rollback_serves_the_first_one_again(versions: Versions) -> None:
    assert versions.served["rolled back"] == versions.served["good"]
    assert versions.answers["rolled back"] == versions.answers["good"]
    tags = versions.tags
    assert tags["live"] == tags["v1"] == versions.served["good"].partition("@")[2]
    assert tags["previous"] == tags["v2"] == versions.served["approved"].partition("@")[2]


def test_the_rejected_one_has_no_tag_but_its_own(versions: Versions) -> None:
    digest = versions.bad.outputs("push")["digest"]
    assert [tag for tag, each in versions.tags.items() if each == digest] == [rejected_tag(digest)]


@pytest.mark.skipif(scorer_image() is None, reason="E2E_SCORER is not set")
def test_the_users_scorer_judged_the_first_one(versions: Versions) -> None:
    assert versions.good.phases()["score"] == "Succeeded"
    assert versions.good.outputs("evaluate")["verdict"] == "passed"


def test_the_webhook_is_told_of_its_end(versions: Versions) -> None:
    assert versions.good.phases()["notify"] == "Succeeded"
    (message,) = versions.told
    assert message["type"] == "dev.argotune.run.finished"
    assert message["data"]["reference"] == versions.good.outputs()["reference"]


def test_versions_are_measured_beside_their_base(versions: Versions) -> None:
    base, live, previous = versions.losses
    assert base > live > previous
