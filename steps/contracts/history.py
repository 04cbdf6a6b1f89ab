"""Records of a workspace: its last deployment, the last adapter rejected, and what is in service.

With them a scheduled run can end early when its data and plan are unchanged: what was rejected once
would be rejected again each night, as long as it is judged alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

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
    was_deployed: bool = True
    """false: the run only pushed the adapter; of a rejection it says nothing."""


@dataclass(frozen=True, kw_only=True)
class Rejected(Deployed):
    """An adapter that was rejected, and what else might have let it pass."""

    gate: str = ""
    """sha256:HEX of the gate's settings, from the plan step; empty: no others would have helped,
    because a person rejected it."""
    live: str = ""
    """sha256:HEX of the adapter in service that it lost to; empty: no other one would have helped,
    because it lost to none, or to the base model too."""


DIRECTORY = "history"
"""Of the model cache, with NAME.json for the last deployment of each workspace."""
_Record = TypeVar("_Record", bound=Deployed)


def digest_of_plan(plan_file: Path) -> str:
    """sha256:HEX of the plan file's bytes."""
    return f"sha256:{hashlib.sha256(plan_file.read_bytes()).hexdigest()}"


def record_deployed(path: Path, deployed: Deployed) -> None:
    """Write the record, replacing an earlier one; runs that end together take turns."""
    with locked(path.with_name(f".{path.name}.lock")):
        atomic_write(path, json.dumps(asdict(deployed), indent=2) + "\n")


def last_deployed(path: Path) -> Deployed | None:
    """The record, or None if the file does not exist or is not such a record."""
    return _read(path, Deployed)


def record_rejected(path: Path, rejected: Rejected) -> None:
    """Write the record of a rejection, beside that of the last deployment, which has this path."""
    record_deployed(_beside(path, "rejected"), rejected)


def last_rejected(path: Path) -> Rejected | None:
    """The record of the last rejection, by the path of that of the last deployment."""
    return _read(_beside(path, "rejected"), Rejected)


def record_live(path: Path, digest: str) -> None:
    """Write which adapter is in service, sha256:HEX of its image, beside the last deployment.

    The tag `live` says so too, to who has a login of the registry; the dataset step has none.
    """
    atomic_write(_beside(path, "live"), json.dumps({"digest": digest}) + "\n")


def live_digest(path: Path) -> str:
    """The digest that `record_live` wrote; empty if it is not known."""
    try:
        return str(json.loads(_beside(path, "live").read_text())["digest"])
    except (FileNotFoundError, json.JSONDecodeError, TypeError, KeyError):
        return ""


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.stem}.{what}{path.suffix}")


def _read(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        return kind(**json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
