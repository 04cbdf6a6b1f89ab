"""The Workflow that a step is a part of: what its other steps came to, and who answered it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from argotune.steps.cluster.errors import ApiError
from argotune.steps.cluster.kube import Kube
from argotune.steps.cluster.packed_nodes import nodes_in
from argotune.steps.common import log

_LOGGER = logging.getLogger(__name__)

OVER = ("Succeeded", "Failed", "Error")
"""Phases of a Workflow that has ended."""


def read_this_run(
    namespace: str, workflow: str, *, record: Path | None, connect: Callable[[], Kube]
) -> Mapping[str, Any]:
    """Read the run's Workflow with its nodes unpacked.

    Args:
        namespace: Of the Workflow.
        workflow: Its name.
        record: File with the Workflow of a run on one machine; None: the API server has it.
        connect: Gives the client of the API server.

    Returns:
        The Workflow; empty, and a warning, where it cannot be read: what is taken from it is told
        to people, and decides nothing of this run.
    """
    try:
        if record is not None:
            found: Mapping[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            return found
        kube = connect()
        found = kube.workflow(namespace, workflow) or {}
        status = found.get("status") or {}
        return {**found, "status": {**status, "nodes": nodes_in(status)}}
    except (ApiError, OSError, ValueError) as error:
        log.warn(_LOGGER, "cannot-read-run", workflow=workflow, reason=error)
        return {}
