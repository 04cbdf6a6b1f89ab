"""What goes wrong on real clusters, on a real cluster: each run ends well in spite of it, or at
once with a message that says what to do."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import pytest

from tests.e2e import nodes
from tests.e2e.cluster import Object, wait_for
from tests.e2e.doubles import WRONG_PUSH_SECRET
from tests.e2e.pods.dataset import CUTS
from tests.e2e.pods.registry import REFUSALS
from tests.e2e.runs import Run, seconds_between
from tests.e2e.site import RUN_SECONDS, Site
from tests.e2e.stories import story

# A story waits for the GPU behind others.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_STEPS, _SAVE_STEPS, _LOST_AFTER = 60, 5, 10


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A run whose tune pod was lost after a checkpoint."""

    run: Run
    first_step_of_second_try: int


@story
def tune_pod_deleted(site: Site) -> Resumed:
    arguments = site.arguments("pod-deleted", steps=_STEPS, save_steps=_SAVE_STEPS)
    run = site.submit(arguments)
    _tunes_until(run, _LOST_AFTER)
    pod = run.pod_of(run.tries("tune")[0])
    site.cluster.kubectl("delete", "pod", pod, "--wait=false")
    return _resumed(site, run, "pod-deleted")


def test_run_whose_tune_pod_is_deleted_goes_on_from_the_checkpoint(
    tune_pod_deleted: Resumed,
) -> None:
    _check_resumed(tune_pod_deleted)


@story
def node_lost(site: Site) -> Resumed:
    if not nodes.can_bring_nodes():
        pytest.skip("needs E2E_NODE_UP and E2E_NODE_DOWN: a node that may go away")
    name, label = f"{site.node}-lost", f"argotune-e2e-lost={site.namespace}"
    nodes.bring(name, label)
    try:
        arguments = site.arguments(
            "node-lost", steps=_STEPS, save_steps=_SAVE_STEPS, label_selector=label
        )
        run = site.submit(arguments)
        _tunes_until(run, _LOST_AFTER)
    finally:
        nodes.take_away(name)
    nodes.give_label(site.node, label)
    return _resumed(site, run, "node-lost")


def test_run_whose_node_goes_away_goes_on_from_the_checkpoint_on_another(
    node_lost: Resumed, site: Site
) -> None:
    _check_resumed(node_lost)
    hosts = [node.get("hostNodeName") for node in node_lost.run.tries("tune")]
    assert hosts == [f"{site.node}-lost", site.node]


@story
def registry_unwell(site: Site) -> Run:
    image = site.failing_image("unwell", "unwell")
    arguments = site.arguments("unwell", output_image=image, adapter_from="cache")
    return site.completes(site.submit(arguments), "unwell")


def test_registry_that_answers_503_three_times_gets_the_image(
    registry_unwell: Run, site: Site
) -> None:
    answers = [
        line.rpartition(" ")[2]
        for line in site.doubles.registry_requests()
        if line.startswith("POST /v2/unwell/unwell/")
    ]
    assert answers[: REFUSALS + 1] == ["503"] * REFUSALS + ["202"]
    digest = registry_unwell.outputs("push")["digest"]
    assert site.doubles.tags(site.failing_registry, "unwell/unwell") == {"1": digest}


@story
def dataset_cut(site: Site) -> Run:
    arguments = site.arguments("dataset-cut", urls=f'["{site.dataset("cut")}"]')
    return site.completes(site.submit(arguments), "dataset-cut")


def test_dataset_whose_host_cuts_the_connection_is_fetched_piece_by_piece(
    dataset_cut: Run, site: Site
) -> None:
    ranges = [
        line.split()[2] for line in site.doubles.dataset_requests() if line.startswith("GET /cut/")
    ]
    assert len(ranges) == CUTS + 1
    assert ranges[0] == "-"
    begins = [int(re.fullmatch(r"bytes=(\d+)-", found)[1]) for found in ranges[1:]]  # type: ignore[index]
    assert begins == sorted(set(begins))
    assert begins[0] > 0
    assert len(dataset_cut.tries("dataset")) == 1


@story
def wrong_password(site: Site) -> Run:
    image = site.failing_image("well", "wrong-password")
    arguments = site.arguments("wrong-password", output_image=image, push_secret=WRONG_PUSH_SECRET)
    return site.submit(arguments).ends("Failed", seconds=RUN_SECONDS)


def test_wrong_registry_password_fails_once_and_at_once_and_names_the_secret(
    wrong_password: Run, site: Site
) -> None:
    (push,) = wrong_password.tries("push")
    assert push["phase"] == "Failed"
    assert WRONG_PUSH_SECRET in push["message"]
    assert push["outputs"]["exitCode"] == "3"
    assert seconds_between(push["startedAt"], push["finishedAt"]) < 60
    assert wrong_password.phases()["release"] == "Succeeded"
    assert site.doubles.tags(site.failing_registry, "well/wrong-password") == {}


@story
def out_of_memory(site: Site) -> Run:
    arguments = site.arguments("out-of-memory", tune_memory="200Mi")
    return site.submit(arguments).ends("Failed", seconds=RUN_SECONDS)


def test_tune_that_is_killed_for_its_memory_says_the_numbers(out_of_memory: Run) -> None:
    (tune,) = out_of_memory.tries("tune")
    assert tune["phase"] == "Failed"
    assert "OOMKilled" in tune["message"]
    assert re.search(r"0\.2\d? GiB.*tune-memory", tune["message"]), tune["message"]


@dataclass(frozen=True, kw_only=True)
class NotPulled:
    """A run whose images do not exist."""

    run: Run
    message: str
    seconds_to_message: float


@story
def image_missing(site: Site) -> NotPulled:
    began = time.monotonic()
    run = site.submit(site.arguments("image-missing", images_tag="no-such-tag"))

    def complaint() -> Object | None:
        run.refresh()
        found = [node for node in run.tries("plan") if "no-such-tag" in node.get("message", "")]
        return found[0] if found else None

    # Longer than what the test accepts, so that it says how long it took.
    node = wait_for("message on the image", complaint, seconds=150, explain=run.explain)
    seconds = time.monotonic() - began
    run.ends("Failed", seconds=RUN_SECONDS)
    return NotPulled(run=run, message=str(node["message"]), seconds_to_message=seconds)


def test_step_image_that_does_not_exist_is_named_within_a_minute(
    image_missing: NotPulled,
) -> None:
    assert "argotune-plan:no-such-tag" in image_missing.message
    assert image_missing.seconds_to_message < 60
    assert image_missing.run.phase == "Failed"


def _tunes_until(run: Run, step: int) -> None:
    """Wait until the first try of tune has logged a step from this one on."""

    def far_enough() -> bool:
        found = re.findall(r" step of=\d+ step=(\d+)", run.cluster.log(pod))
        return any(int(number) > step for number in found)

    pod = run.pod_of(run.runs_step("tune", seconds=RUN_SECONDS))
    wait_for(f"step {step} of {run.name}", far_enough, seconds=300, explain=run.explain)


def _resumed(site: Site, run: Run, name: str) -> Resumed:
    first = run.says("tune", r" step of=\d+ step=(\d+)", seconds=RUN_SECONDS, attempt=1)
    site.completes(run, name)
    return Resumed(run=run, first_step_of_second_try=int(first[1]))


def _check_resumed(resumed: Resumed) -> None:
    tries = resumed.run.tries("tune")
    assert [node["phase"] for node in tries[1:]] == ["Succeeded"]
    assert tries[0]["phase"] in ("Error", "Failed")
    outputs = resumed.run.outputs("tune")
    assert int(outputs["resumed-from-step"]) >= _LOST_AFTER
    assert resumed.first_step_of_second_try > _LOST_AFTER
    assert outputs["steps"] == str(_STEPS)
    assert float(outputs["tuned-loss"]) < float(outputs["base-loss"])
