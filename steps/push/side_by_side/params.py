"""Parameters and results of the step that keeps the report of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError


@dataclass(frozen=True, kw_only=True)
class Params:
    """Keep the report of an evaluation in the registry, beside the first of its adapters."""

    work_dir: Path
    """Volume of the run, with what was found."""
    run: str
    """UID of the Workflow, which the report's tag ends with."""
    created: str
    """Time of the run, RFC 3339."""
    auth_file: Path | None = None
    """Docker config.json with the registry's login; may not exist."""
    push_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of the registry, PEM, trusted in addition to the system's; may not
    exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""
    keep_report: Literal["registry", "none"] = "registry"
    """Where the report stays. registry: in the repository of the first adapter, tag
    sha256-HEX.evaluation-UID after the adapter's digest and the run."""

    def __post_init__(self) -> None:
        if not self.run:
            raise ParamsError("--run: empty; give the UID of the Workflow")


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the step."""

    report: str
    """Reference of the report by digest; `none: REASON` where it could not be kept, empty where
    none was to be kept."""
