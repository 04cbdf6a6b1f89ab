"""How long a node may wait for the next run of its workspace, and which run may take it. Pure.

A run takes a node only during the first half of the node's lifetime. So that run has the other
half, and no node is used for ever. It may have the node until its own deadline, or until the node's
end where that is earlier.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from argotune.steps.nodes.provider import NodeRequest

MARGIN = timedelta(minutes=2)
"""A node is not taken this shortly before its end, because the clock of `gc` may be ahead."""
KEEP_SECONDS = 600.0
"""Longest wait until a node is kept, in seconds; it costs the same as a late release."""


def kept_until(
    now: datetime, seconds: float, *, made: datetime | None, ends: datetime | None
) -> datetime | None:
    """Return until when a node is kept that a run leaves now.

    Returns None where the node is too old, or where its age is unknown.
    """
    if made is None or ends is None:
        return None
    until = min(now + timedelta(seconds=seconds), made + (ends - made) / 2)
    return until if until - now > MARGIN else None


def time_problem(
    now: datetime, request: NodeRequest, *, until: datetime | None, ends: datetime | None
) -> str:
    """Say why a kept node has not enough time for a run; empty where it has."""
    if until is None or until - now <= MARGIN:
        return "its time is over"
    if ends is None or ends - now < (request.deadline - now) / 2:
        return "it has less than half of the time that the run may have nodes"
    return ""


def is_of_workspace(request: NodeRequest, *, namespace: str, workspace: str) -> bool:
    """Whether a node was kept for the workspace of a run."""
    return bool(workspace) and (namespace, workspace) == (request.namespace, request.workspace)
