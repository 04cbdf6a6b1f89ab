"""What only a cluster does to a run: it takes pods and nodes away, and kills for memory. Faults of
registries, hosts and clouds are shown in the tests of the steps that meet them."""

from __future__ import annotations

import re

import pytest

from tests.e2e import nodes
from tests.e2e.resuming import LOST_AFTER, SAVE_STEPS, STEPS, Resumed, resumed, tunes_until
from tests.e2e.runs import Run
from tests.e2e.site import RUN_SECONDS, Site
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


@pytest.mark.smoke
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


@pytest.mark.shard3
def test_run_whose_node_goes_away_goes_on_from_the_checkpoint_on_another(
    node_lost: Resumed, site: Site
) -> None:
    node_lost.check()
    assert node_lost.nodes == (f"{site.node}-lost", site.node)


@story
def out_of_memory(site: Site) -> Run:
    arguments = site.arguments("out-of-memory", tune_memory="200Mi")
    return site.submit(arguments).ends("Failed", seconds=RUN_SECONDS)


@pytest.mark.shard2
def test_tune_that_is_killed_for_its_memory_says_the_numbers(out_of_memory: Run) -> None:
    (tune,) = out_of_memory.tries("tune")
    assert tune["phase"] == "Failed"
    assert "OOMKilled" in tune["message"]
    numbers = r"\d+ MiB used of 200 MiB \(parameter tune-memory\);.* set at least \d+Mi"
    assert re.search(numbers, tune["message"]), tune["message"]
