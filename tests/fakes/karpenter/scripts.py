"""What becomes of a claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Script:
    """All goes well and at once, but for what is said here."""

    refusal: str = ""
    """The cloud has no such machine: an event says this, and the claim is deleted."""
    launch_error: str = ""
    """The launch fails again and again; the condition Launched stays Unknown with this."""
    launch_seconds: float = 0.0
    """From the claim's being seen to the machine's start."""
    gpu_seconds: float | None = 0.0
    """From the node's being registered to its GPUs; None: they never come."""
    drain_seconds: float = 0.0
    """Shortest drain."""


SCRIPTS: Mapping[str, Script] = {
    "happy": Script(),
    "capacity": Script(refusal="all requested instance types were unavailable during launch"),
    "stuck": Script(launch_error="creating instance failed, the cloud's API does not answer"),
    "slow-launch": Script(launch_seconds=15.0),
    "no-gpu": Script(gpu_seconds=None),
    "gpu-later": Script(gpu_seconds=10.0),
    "slow-drain": Script(drain_seconds=15.0),
}
