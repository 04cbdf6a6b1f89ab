"""Runs whose tune pod is lost after a checkpoint and that go on from it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.cluster import Object, wait_for
from tests.e2e.runs import Run
from tests.e2e.site import RUN_SECONDS, Site

STEPS, SAVE_STEPS, LOST_AFTER = 60, 5, 10
_STEP = r" step of=\d+ step=(\d+)"
_LOG_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A run whose tune pod was lost after a checkpoint."""

    run: Run
    nodes: tuple[str, str]
    """Of the pod that was lost, and of the one after it."""
    first_step_after: int
    """The first that the second pod trained."""

    def check(self) -> None:
        """It went on from the checkpoint, did all its steps and learned."""
        outputs = self.run.outputs("tune")
        assert int(outputs["resumed-from-step"]) >= LOST_AFTER
        assert self.first_step_after > LOST_AFTER
        assert outputs["steps"] == str(STEPS)
        assert float(outputs["tuned-loss"]) < float(outputs["base-loss"])


def tunes_until(run: Run, step: int) -> Object:
    """Wait until the tune pod has logged a step after this one; the pod."""
    pod = run.running_pod("tune", seconds=RUN_SECONDS)
    wait_for(
        f"step {step} of {run.name}",
        lambda: any(int(number) > step for number in run.says(pod, _STEP, seconds=_LOG_SECONDS)),
        seconds=_LOG_SECONDS,
        explain=run.explain,
    )
    return pod


def resumed(site: Site, run: Run, name: str, lost: Object) -> Resumed:
    """Wait for the pod after the one that was lost, and for the run's good end."""
    pod = run.running_pod("tune", seconds=RUN_SECONDS, other_than=lost["metadata"]["uid"])
    steps = run.says(pod, _STEP, seconds=_LOG_SECONDS)
    site.completes(run, name)
    return Resumed(
        run=run,
        nodes=(lost["spec"]["nodeName"], pod["spec"]["nodeName"]),
        first_step_after=int(steps[0]),
    )
