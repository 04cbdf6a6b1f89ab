"""Parameters and results of the reject step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.in_service import DeployTo
from argotune.steps.registry.oci import parse_reference


@dataclass(frozen=True, kw_only=True)
class Params:
    """Record a rejected adapter, so that a schedule does not tune again on the same data."""

    plan_file: Path
    """The plan step's file."""
    work_dir: Path
    """Volume of the run, with what evaluate found out about the adapter."""
    model_dir: Path
    """Directory of the base model."""
    dataset_digest: str
    """Digest of the data."""
    reference: str
    """The push step's reference of the adapter image, by digest."""
    history_file: Path
    """Record of the last deployment (steps/contracts/history.py); that of the last rejection is
    written beside it."""
    verdict: Literal["passed", "rejected"]
    """Of the evaluate step; passed: a person rejected the adapter."""
    gate: str = ""
    """Digest of the gate's settings, an output of the plan step."""
    name: str
    """Name of the service, at which is noted who rejected an adapter."""
    target: DeployTo = "kubernetes"
    """Where the service is: a server on this machine, a Deployment, or none."""
    services_dir: Path | None = None
    """Directory with the records of server processes; for target process."""
    auth_file: Path | None = None
    """Docker config.json with the registry's login, which sets the tag of what a person rejected;
    may not exist."""
    push_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of the registry, PEM, trusted in addition to the system's; may not
    exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""
    namespace: str = ""
    """Namespace of the run's Workflow."""
    workflow: str = ""
    """Its name, for who answered; empty: not asked for."""
    run_record: Path | None = None
    """File with the Workflow of a run on one machine; empty: the API server has it."""
    reason: str = ""
    """Why evaluate rejected it, for the message of a run that fails for it."""
    outcome: str = ""
    """What a rejected adapter leaves in service, for the same message."""
    on_rejected: Literal["keep", "fail"] = "keep"
    """What becomes of the step when evaluate rejected the adapter. keep: it succeeds; fail: it
    fails once the record is written."""

    def __post_init__(self) -> None:
        if not self.reference:
            raise ParamsError(["--reference: empty; give the adapter image that push sent"])
        try:
            image = parse_reference(self.reference)
        except ValueError as error:
            raise ParamsError([f"--reference: {error}"]) from error
        if image.digest is None:
            raise ParamsError([f"--reference: {self.reference!r} has no digest"])


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the reject step."""

    rejected_by: Literal["gate", "person"]
    """Who rejected the adapter."""
    person: str
    """Name of the person, as far as Argo or the command line noted it; empty: the gate rejected it,
    nobody decided in time, or it is not known."""
    tag: str
    """rejected-HEX, which the adapter's image has; `none: REASON` where the registry refused."""
