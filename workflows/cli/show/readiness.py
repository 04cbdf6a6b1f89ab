"""Whether a workspace has what it asked for: Kaito's ResourceReady, InferenceReady and so on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argotune.steps.nodes.ledger import accelerator_of
from argotune.workflows.cli.show.workflow_json import Workflow, only_pushes, phase_of


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What of a workspace is there."""

    resource: bool
    """The machine of its run, or what it was for."""
    inference: bool
    """A server that answers; while a new one starts, the old one does."""
    workspace: bool
    """Its run has succeeded, and serves where it is to."""


def readiness(run: Workflow, service: Mapping[str, Any] | None) -> Readiness:
    """Judge a workspace by its run, of which the metadata suffice, and its service's Deployment."""
    inference = service is not None and is_ready(service)
    has_succeeded = phase_of(run) == "Succeeded" and (inference or only_pushes(run))
    return Readiness(
        resource=bool(accelerator_of(run)) or has_succeeded,
        inference=inference,
        workspace=has_succeeded,
    )


def is_ready(deployment: Mapping[str, Any]) -> bool:
    """Whether a server answers; while a new one starts, the old one does."""
    return int(deployment.get("status", {}).get("readyReplicas") or 0) > 0
