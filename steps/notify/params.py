"""Parameters and results of the notify step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError

SECRET_VARIABLES = {"url": "ARGOTUNE_NOTIFY_URL", "format": "ARGOTUNE_NOTIFY_FORMAT"}
"""Keys of the run's Secret for notifications, and the variables of this step that they become."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Send what became of the run to the webhook of the Secret; a failure is only said."""

    run: str
    """UID of the run."""
    workflow: str
    """Name of the run's Workflow."""
    namespace: str
    """Namespace of the Workflow."""
    workspace: str
    """Name of the workspace."""
    status: str = ""
    """Status of the run as Argo gives it to exit handlers: Succeeded, Failed or Error; empty: the
    run goes on and waits for its approval."""
    run_record: Path | None = None
    """File with the Workflow of a run on one machine; empty: the API server has it."""
    allow_loopback: bool = False
    """Allow webhooks of this machine."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of webhooks inside the network, as a JSON list."""
    ca_file: Path | None = None
    """Certificate authority of such hosts, PEM; may not exist."""
    timeout_seconds: float = 10.0
    """Longest time without an answer."""
    attempts: int = 3
    """How often it is tried."""

    def __post_init__(self) -> None:
        problems = []
        if not self.timeout_seconds > 0:
            problems.append(f"--timeout-seconds: {self.timeout_seconds} is not above 0")
        if self.attempts < 1:
            problems.append(f"--attempts: {self.attempts} is less than 1")
        if problems:
            raise ParamsError(problems)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the notify step."""

    sent: str
    """What was sent: finished, pushed, failed, rejected, awaiting-approval, or ended where the
    results of a run that succeeded could not be read; empty: nothing."""
    problem: str
    """Why nothing was sent; empty if it was."""
