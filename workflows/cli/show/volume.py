"""The volume that a run left: its name, its size, and until when Argo keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from argotune.workflows.cli.show.rows import can_go_on, parse_time
from argotune.workflows.cli.show.workflow_json import Workflow, has_ended, phase_of


@dataclass(frozen=True, kw_only=True)
class KeptVolume:
    """The claim of a run that has ended."""

    claim: str
    size: str
    """A quantity such as 22Gi; empty where the Workflow does not tell."""
    until: datetime | None
    """When Argo deletes the run and its volume; None: somebody has to."""
    is_of_use: bool
    """Whether `argo retry` could go on with what is on it."""

    def __str__(self) -> str:
        size = f", {self.size}" if self.size else ""
        end = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "until it is deleted"
        use = " for argo retry" if self.is_of_use else ""
        return f"{self.claim}{size}, kept{use} {end}"


def kept_volume_of(run: Workflow) -> KeptVolume | None:
    """Return what a run that has ended left; None where its volume is gone, or it goes on."""
    status = run.get("status", {})
    claims = status.get("persistentVolumeClaims") or []
    if not claims or not has_ended(run):
        return None
    spec = status.get("storedWorkflowTemplateSpec") or run["spec"]
    return KeptVolume(
        claim=claims[0]["persistentVolumeClaim"]["claimName"],
        size=_size(spec),
        until=_until(run, spec),
        is_of_use=can_go_on(run),
    )


def _size(spec: dict[str, Any]) -> str:
    templates = spec.get("volumeClaimTemplates") or [{}]
    requests = templates[0].get("spec", {}).get("resources", {}).get("requests", {})
    return str(requests.get("storage", ""))


def _until(run: Workflow, spec: dict[str, Any]) -> datetime | None:
    """Return when the time to live of the run is over, as Argo's controller reckons it."""
    strategy = spec.get("ttlStrategy") or {}
    own = "secondsAfterSuccess" if phase_of(run) == "Succeeded" else "secondsAfterFailure"
    seconds = strategy.get(own, strategy.get("secondsAfterCompletion"))
    finished = parse_time(run["status"].get("finishedAt"))
    if seconds is None or finished is None:
        return None
    return finished + timedelta(seconds=seconds)
