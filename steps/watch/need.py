"""Whether a run still needs its node, as its Workflow says. Pure."""

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
    """Why nobody needs the node any more; empty while the step may."""
    if workflow is None or workflow["metadata"].get("uid") != run:
        return "the run is gone"
    shutdown = workflow["spec"].get("shutdown")
    if shutdown:
        return f"the run is being ended (spec.shutdown: {shutdown})"
    status = workflow.get("status") or {}
    if status.get("phase") in OVER:
        return f"the run is {status['phase']}"
    if status.get("offloadNodeStatusVersion"):
        # To watch on could be for ever: the run does not end before this step.
        return "the run's steps are in Argo's own database, where they cannot be seen"
    phase = _phase(status, step)
    return f"{step} is {phase}" if phase in _ENDED else ""


def _phase(status: Object, step: str) -> str:
    """Of the step with all its tries; those have a number behind its name."""
    found = [node for node in _nodes(status).values() if node.get("displayName") == step]
    return str(found[0].get("phase", "")) if found else ""


def _nodes(status: Object) -> Mapping[str, Object]:
    """Argo compresses what is too long for etcd."""
    packed = status.get("compressedNodes")
    if packed:
        unpacked: Mapping[str, Object] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return unpacked
    return status.get("nodes") or {}
