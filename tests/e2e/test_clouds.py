"""Whole runs with providers aks and karpenter, in an installation's own pods, from no GPU node to
no GPU node: with the node taken away while it tunes, and ended in each phase."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest

from argotune.steps.nodes.aks.pool import pool_name
from argotune.steps.nodes.karpenter.claim import claim_name
from tests.e2e.clouds import INSTANCE_TYPE, azure, karpenter, left_of
from tests.e2e.resuming import LOST_AFTER, SAVE_STEPS, STEPS, Resumed, resumed, tunes_until
from tests.e2e.site import RUN_SECONDS, Site
from tests.e2e.stories import STORY_SECONDS, story
from tests.fakes.arm import Creation

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(STORY_SECONDS)]

Provider = Literal["aks", "karpenter"]
_STOP_SECONDS = 600
_LONG = 2000
"""Optimizer steps that no test waits for."""


@dataclass(frozen=True, kw_only=True)
class Evicted:
    """A run that went on after its spot machine was taken away."""

    resumed: Resumed
    status: str
    """What `argotune status` said at the end."""
    left: list[str]


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What a run that was stopped had, and what was left."""

    what: str
    """The kind and name of its machine."""
    had: list[str]
    """Pools, claims and nodes when it was stopped."""
    left: list[str]
    tries: list[str]
    """Phases of the pods of the step in which it was stopped."""
    released: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A phase in which a run is stopped, and what holds it there."""

    step: str
    log: str
    """What the step's log says in that phase."""
    creation: Creation = field(default_factory=lambda: Creation(seconds=3.0))
    """What Azure does."""
    script: str = "happy"
    """What Karpenter does."""


SCENES = {
    "launching": Scene(
        step="provision",
        log=" waiting reason=",
        creation=Creation(seconds=45.0),
        script="slow-launch",
    ),
    "waiting-for-gpu": Scene(
        step="provision",
        log="no nvidia.com/gpu",
        creation=Creation(seconds=3.0, gpus=0),
        script="no-gpu",
    ),
    "tuning": Scene(step="tune", log=r" step of="),
}


@pytest.mark.shard3
@pytest.mark.parametrize("evicted", ["aks", "karpenter"], indirect=True)
def test_run_whose_spot_machine_is_taken_away_goes_on_from_the_checkpoint_on_the_next(
    evicted: Evicted,
) -> None:
    run = evicted.resumed.run
    evicted.resumed.check()
    assert run.outputs("provision")["placement"] == f"{INSTANCE_TYPE} spot"
    assert run.outputs("watch")["replaced"] == "1"
    released = run.outputs("release")["released"]
    assert re.search(rf"\({INSTANCE_TYPE} spot\) after 0\.\d+ h, at most \d", released)
    assert float(run.outputs("release")["cost-usd"]) > 0
    assert f"{INSTANCE_TYPE} spot" in evicted.status
    assert "USD" in evicted.status
    assert evicted.left == []


@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(("aks", "tuning"), marks=pytest.mark.smoke),
        pytest.param(("karpenter", "tuning"), marks=pytest.mark.shard4),
        pytest.param(("aks", "launching"), marks=pytest.mark.shard4),
        pytest.param(("karpenter", "launching"), marks=pytest.mark.shard4),
        pytest.param(("aks", "waiting-for-gpu"), marks=pytest.mark.shard5),
        pytest.param(("karpenter", "waiting-for-gpu"), marks=pytest.mark.shard5),
    ],
    indirect=True,
    ids="-".join,
)
def test_run_that_is_stopped_leaves_nothing_in_the_cloud(stopped: Stopped) -> None:
    assert stopped.had
    assert stopped.tries == ["Failed"]
    assert stopped.released.startswith(f"{stopped.what} ({INSTANCE_TYPE} regular) after 0.")
    assert stopped.left == []


@story
def evicted(site: Site, provider: Provider) -> Evicted:
    name = f"{provider}-evicted"
    with _cloud(site, provider, name, Creation(seconds=3.0), "happy") as cloud:
        arguments = _arguments(site, provider, name, steps=STEPS, save_steps=SAVE_STEPS)
        run = site.submit({**arguments, "capacity-types": '["spot", "regular"]'})
        lost = tunes_until(run, LOST_AFTER)
        cloud.evict()
        told = resumed(site, run, name, lost)
        return Evicted(
            resumed=told,
            status=site.argotune("status", run.name, f"--namespace={site.namespace}"),
            left=[*cloud.pools(), *left_of(run.uid)],
        )


@story
def stopped(site: Site, case: tuple[Provider, str]) -> Stopped:
    provider, phase = case
    name, scene = f"{provider}-{phase}", SCENES[phase]
    with _cloud(site, provider, name, scene.creation, scene.script) as cloud:
        run = site.submit(_arguments(site, provider, name, steps=_LONG))
        pod = run.running_pod(scene.step, seconds=RUN_SECONDS)
        run.says(pod, scene.log, seconds=RUN_SECONDS)
        had = [*cloud.pools(), *left_of(run.uid)]
        site.argotune("stop", run.name, f"--namespace={site.namespace}", seconds=_STOP_SECONDS)
        run.ends("Failed", seconds=_STOP_SECONDS)
        return Stopped(
            what={
                "aks": f"agent pool {pool_name(run.uid)}",
                "karpenter": f"NodeClaim {claim_name(run.uid)}",
            }[provider],
            had=had,
            left=[*cloud.pools(), *left_of(run.uid)],
            tries=[node["phase"] for node in run.tries(scene.step)],
            released=run.outputs("release")["released"],
        )


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A run's cloud, as both have it."""

    evict: Callable[[], None]
    """Take the spot machines back."""
    pools: Callable[[], list[str]]
    """What there is that the API server does not know."""


@contextmanager
def _cloud(
    site: Site, provider: Provider, name: str, creation: Creation, script: str
) -> Iterator[Beside]:
    if provider == "aks":
        with azure(site, name, creation) as cloud:
            yield Beside(evict=cloud.evict, pools=lambda: list(cloud.pools))
    else:
        with karpenter(site, name, script) as playing:
            yield Beside(evict=playing.interrupt, pools=list)


def _arguments(
    site: Site, provider: Provider, name: str, *, steps: int, save_steps: int | None = None
) -> dict[str, str]:
    return {
        **site.arguments(name, steps=steps, save_steps=save_steps, instance_type=INSTANCE_TYPE),
        "provider": provider,
        "label-selector": "",
    }
