"""What was last tuned and deployed for a workspace, so that a schedule can leave out a run whose
data and plan are the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from argotune.steps.common.fs import atomic_write


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """One deployed adapter and what it came from."""

    dataset_digest: str
    """sha256:HEX of the dataset step."""
    plan_digest: str
    """sha256:HEX of the plan file."""
    reference: str
    """The adapter image by digest."""


def digest_of_plan(plan_file: Path) -> str:
    """sha256:HEX over the plan as it is written."""
    return f"sha256:{hashlib.sha256(plan_file.read_bytes()).hexdigest()}"


def record_deployed(path: Path, deployed: Deployed) -> None:
    """Replace the record."""
    atomic_write(path, json.dumps(asdict(deployed), indent=2) + "\n")


def last_deployed(path: Path) -> Deployed | None:
    """The record, or None where nothing was deployed yet or the file is not ours to read."""
    try:
        return Deployed(**json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
