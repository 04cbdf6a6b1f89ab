"""What goes wrong on real clusters, on a real cluster: each run ends well in spite of it, or at
once with a message that says what to do."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e import nodes
from tests.e2e.cluster import Object, wait_for
from tests.e2e.doubles import WRONG_PUSH_SECRET
from tests.e2e.pods.dataset import CUTS
from tests.e2e.pods.registry import REFUSALS
from tests.e2e.resuming import LOST_AFTER, SAVE_STEPS, STEPS, Resumed, resumed, tunes_until
from tests.e2e.runs import Run, seconds_between
from tests.e2e.site import RUN_SECONDS, Site, images
from tests.e2e.stories import STORY_SECONDS, story

# A story waits for the GPU behind others.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(STORY_SECONDS)]


@story
def tune_pod_deleted(site: Site) -> Resumed:
    arguments = site.arguments("pod-deleted", steps=STEPS, save_steps=SAVE_STEPS)
    run = site.submit(arguments)
    lost = tunes_until(run, LOST_AFTER)
    site.cluster.kubectl("delete", "pod", lost["metadata"]["name"], "--wait=false")
    return resumed(site, run, "pod-deleted", lost)


def test_run_whose_tune_pod_is_deleted_goes_on_from_the_checkpoint(
    tune_pod_deleted: Resumed,
) -> None:
    tune_pod_deleted.check()


@story
def node_lost(site: Site) -> Resumed:
    name, label = f"{site.node}-lost", f"argotune-e2e-lost={site.namespace}"
    machine = nodes.bring(name, label)
    try:
        arguments = site.arguments(
            "node-lost", steps=STEPS, save_steps=SAVE_STEPS, label_selector=label
        )
        run = site.submit(arguments)
        lost = tunes_until(run, LOST_AFTER)
    finally:
        machine.take_down()
    nodes.give_label(site.node, label)
    return resumed(site, run, "node-lost", lost)


def test_run_whose_node_goes_away_goes_on_from_the_checkpoint_on_another(
    node_lost: Resumed, site: Site
) -> None:
    node_lost.check()
    assert node_lost.nodes == (f"{site.node}-lost", site.node)


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
    # The first request asks for one byte, to see what there is.
    assert ranges[0] == "bytes=0-0"
    begins = [int(found.removeprefix("bytes=").removesuffix("-") or 0) for found in ranges[1:]]
    assert begins[0] == 0
    assert begins == sorted(set(begins))
    assert len(begins) == CUTS + 1
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
    numbers = r"\d+ MiB used of 200 MiB \(parameter tune-memory\);.* give at least \d+Mi"
    assert re.search(numbers, tune["message"]), tune["message"]


@dataclass(frozen=True, kw_only=True)
class NotPulled:
    """A run whose images do not exist."""

    run: Run
    message: str
    """Of the node, while it waited."""
    seconds_to_message: float
    refusal: str
    """What the command line ended with."""


@story
def image_missing(site: Site) -> NotPulled:
    command = ["submit", "-", "--watch", f"--namespace={site.namespace}", "--standalone"]
    command += [f"--images-registry={images()}", "--images-tag=no-such-tag"]
    command += ["--volume-size=1Gi", "--pull-timeout-seconds=20"]
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        text = site.workspace("image-missing")
        watched = pool.submit(site.argotune_refuses, *command, text=text, seconds=RUN_SECONDS)
        run = site.run_with_label("argotune.dev/workspace=image-missing")
        message, seconds = _complaint(run), time.monotonic() - began
        return NotPulled(
            run=run.ends("Failed", seconds=RUN_SECONDS),
            message=message,
            seconds_to_message=seconds,
            refusal=watched.result(),
        )


def _complaint(run: Run) -> str:
    """What plan's node says once its image was not found."""

    def complaint() -> Object | None:
        run.refresh()
        found = [node for node in run.tries("plan") if "no-such-tag" in node.get("message", "")]
        return found[0] if found else None

    # Longer than what the test accepts, so that it says how long it took.
    node = wait_for("message on the image", complaint, seconds=150, explain=run.explain)
    return str(node["message"])


def test_step_image_that_does_not_exist_is_named_within_a_minute(
    image_missing: NotPulled,
) -> None:
    assert "argotune-plan:no-such-tag" in image_missing.message
    assert image_missing.seconds_to_message < 60
    assert image_missing.run.phase == "Failed"
    assert f"{images()}/argotune-plan:no-such-tag" in image_missing.refusal
