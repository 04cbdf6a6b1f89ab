"""Records of the last deployment of a workspace, and of the last adapter that was rejected.

With them a scheduled run can end early when its data and plan are unchanged: what was rejected once
would be rejected again each night.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from argotune.steps.common.fs import atomic_write, locked


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """One adapter and its inputs, deployed or rejected."""

    dataset_digest: str
    """sha256:HEX of the dataset step."""
    plan_digest: str
    """sha256:HEX of the plan file."""
    base_version: str = ""
    """What the source of the weights had (`Origin.version`); empty in earlier records."""
    reference: str = ""
    """The adapter image by digest; empty in earlier records of rejections."""


def digest_of_plan(plan_file: Path) -> str:
    """sha256:HEX of the plan file's bytes."""
    return f"sha256:{hashlib.sha256(plan_file.read_bytes()).hexdigest()}"


def record_deployed(path: Path, deployed: Deployed) -> None:
    """Write the record, replacing an earlier one; runs that end together take turns."""
    with locked(path.with_name(f".{path.name}.lock")):
        atomic_write(path, json.dumps(asdict(deployed), indent=2) + "\n")


def rejected_beside(path: Path) -> Path:
    """Path of the record of the last rejection, beside that of the last deployment."""
    return path.with_name(f"{path.stem}.rejected{path.suffix}")


def last_deployed(path: Path) -> Deployed | None:
    """The record, or None if the file does not exist or is not such a record."""
    try:
        return Deployed(**json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
