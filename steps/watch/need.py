"""Whether a run still needs its node, from its Workflow object."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from argotune.steps.nodes.runs import OVER

Object = Mapping[str, Any]

_ENDED = (*OVER, "Skipped", "Omitted")


def end_of_need(workflow: Object | None, *, run: str, step: str) -> str:
    """Why the run no longer needs the node; empty while the step may still need it.

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
    phase = _phase(status, step)
    return f"{step} is {phase}" if phase in _ENDED else ""


def has_succeeded(workflow: Object, step: str) -> bool:
    """Whether the step has succeeded, so that no other try of it needs the node."""
    return _phase(workflow.get("status") or {}, step) == "Succeeded"


def _phase(status: Object, step: str) -> str:
    """Phase of the step over all its attempts, whose display names have a number appended."""
    found = [node for node in _nodes(status).values() if node.get("displayName") == step]
    return str(found[0].get("phase", "")) if found else ""


def _nodes(status: Object) -> Mapping[str, Object]:
    """The Workflow's nodes, which Argo compresses if they are too large for etcd."""
    packed = status.get("compressedNodes")
    if packed:
        unpacked: Mapping[str, Object] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return unpacked
    return status.get("nodes") or {}
