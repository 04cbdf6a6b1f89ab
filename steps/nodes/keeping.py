"""How long a node may wait for the next run of its workspace, and who may take it. Pure.

A node is handed on during the first half of its lifetime only, so that whoever takes it has the
other half, and no node is used for ever. Whoever takes it may have it until their own deadline, or
until its end where that is earlier.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from argotune.steps.nodes.provider import NodeRequest

MARGIN = timedelta(minutes=2)
"""A node is not taken so shortly before its end: the collection's clock may be ahead."""
KEEP_SECONDS = 600.0
"""Longest wait until a node is kept; it costs the same as one that is given back late."""


def kept_until(
    now: datetime, seconds: float, *, made: datetime | None, ends: datetime | None
) -> datetime | None:
    """Until when a node is kept that a run leaves now; None where it is too old, or where nobody
    knows its age."""
    if made is None or ends is None:
        return None
    until = min(now + timedelta(seconds=seconds), made + (ends - made) / 2)
    return until if until - now > MARGIN else None


def time_problem(
    now: datetime, request: NodeRequest, *, until: datetime | None, ends: datetime | None
) -> str:
    """Why a kept node has not enough time for a run; empty where it has."""
    if until is None or until - now <= MARGIN:
        return "its time is over"
    if ends is None or ends - now < (request.deadline - now) / 2:
        return "it has less than half of the time that the run may have nodes"
    return ""


def is_of_workspace(request: NodeRequest, *, namespace: str, workspace: str) -> bool:
    """Whether a node was kept for the workspace of a run."""
    return bool(workspace) and (namespace, workspace) == (request.namespace, request.workspace)
