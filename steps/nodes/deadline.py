"""Until when a run may have nodes: one time for all of them, whatever replaces what.

It is counted from the time when the run first asked for a node, which is written down once, at its
Workflow: another try of provision, a watch that is started again, a replacement and `argo retry`
find it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from argotune.steps.cluster.kube import Kube
from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.nodes.provider import NodeRequest

FIRST_ASKED = "argotune.dev/first-node-asked-at"
"""Annotation of the Workflow."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def first_asked(workflow: Mapping[str, Any]) -> datetime | None:
    """When the run first asked for a node; None where it has not.

    `argo resubmit` copies annotations: a time before the Workflow was created is another run's.
    """
    metadata = workflow["metadata"]
    asked = _time((metadata.get("annotations") or {}).get(FIRST_ASKED))
    created = _time(metadata.get("creationTimestamp"))
    if asked is not None and created is not None and asked < created:
        return None
    return asked


def note_first_asked(
    kube: Kube, *, namespace: str, workflow: str, run: str, now: datetime
) -> datetime:
    """When the run first asked for a node; `now`, and written down, where it has not before.

    Raises PermanentError where the run is no more: nobody would use its node.
    """
    found = kube.workflow(namespace, workflow)
    if found is None or found["metadata"].get("uid") != run:
        raise PermanentError(
            f"Workflow {namespace}/{workflow} of run {run} was deleted, so no node is asked for"
        )
    asked = first_asked(found)
    if asked is not None:
        return asked
    kube.annotate_workflow(namespace, workflow, {FIRST_ASKED: f"{now:{_TIME}}"})
    return now.replace(microsecond=0)


def within(
    request: NodeRequest, *, asked: datetime, lifetime_seconds: float, clock: Clock
) -> NodeRequest:
    """The request for the time that is left to the run. Raises PermanentError where none is."""
    deadline, now = asked + timedelta(seconds=lifetime_seconds), wall_time(clock)
    if now >= deadline:
        raise PermanentError(time_is_over(asked, lifetime_seconds))
    left_seconds = (deadline - now).total_seconds()
    return replace(
        request,
        deadline=deadline,
        timeout_seconds=min(request.timeout_seconds, left_seconds),
    )


def time_is_over(asked: datetime, lifetime_seconds: float) -> str:
    """What to say when the run may have no node any more."""
    return (
        f"the run first asked for a node at {asked:{_TIME}} and may have nodes for "
        f"{lifetime_seconds:g} s (node-lifetime-seconds), which are over"
    )


def wall_time(clock: Clock) -> datetime:
    """The time as it is stored."""
    return datetime.fromtimestamp(clock.wall(), UTC)


def _time(text: object) -> datetime | None:
    """A time of the metadata; people may change annotations, so anything may stand there."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
