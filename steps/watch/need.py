"""Whether a run still needs its node, from its Workflow object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from argotune.steps.cluster.packed_nodes import nodes_in
from argotune.steps.cluster.this_run import OVER

Object = Mapping[str, Any]

_SUCCEEDED = "Succeeded"
_ENDED = (*OVER, "Skipped", "Omitted")


def end_of_need(workflow: Object | None, *, run: str, steps: Sequence[str]) -> str:
    """Why the run no longer needs the node; empty while one of the steps may still need it.

    `run` is the run's UID. `workflow` is None if the Workflow does not exist.
    """
    if workflow is None or workflow["metadata"].get("uid") != run:
        return "the run was deleted"
    shutdown = workflow["spec"].get("shutdown")
    if shutdown:
        return f"the run is being stopped (spec.shutdown: {shutdown})"
    status = workflow.get("status") or {}
    if status.get("phase") in OVER:
        return f"the run is {status['phase']}"
    if status.get("offloadNodeStatusVersion"):
        # Watching on might never end: the run does not finish before this step.
        return "Argo stores the run's node status in its database, where watch cannot read it"
    step = step_in_need(workflow, steps)
    phase = _phase(status, step)
    return f"{step} is {phase}" if phase in _ENDED else ""


def step_in_need(workflow: Object, steps: Sequence[str]) -> str:
    """The first of the steps that has not succeeded; the last one if all have."""
    return next(iter(_unfinished(workflow, steps)), steps[-1])


def have_succeeded(workflow: Object, steps: Sequence[str]) -> bool:
    """Whether all steps have succeeded, so that no other try of one needs the node."""
    return not _unfinished(workflow, steps)


def _unfinished(workflow: Object, steps: Sequence[str]) -> list[str]:
    """The steps that have not succeeded; one that was passed over is none of them.

    `answer` is, in a run without a scorer. Where the first one is, so is all that follows.
    """
    status = workflow.get("status") or {}
    phases = [_phase(status, step) for step in steps]
    begun = max((place for place, phase in enumerate(phases) if phase), default=-1)
    return [
        step
        for place, (step, phase) in enumerate(zip(steps, phases, strict=True))
        if phase != _SUCCEEDED
        and not (phase == "Skipped" and place > 0)
        and (phase or place > begun)
    ]


def _phase(status: Object, step: str) -> str:
    """Phase of the step over all its attempts, whose display names have a number appended."""
    found = [node for node in nodes_in(status).values() if node.get("displayName") == step]
    return str(found[0].get("phase", "")) if found else ""
