"""The adapter that is in service when a run begins, on the run's volume for `evaluate`.

The model step finds it by the tag `live` of the output image's repository. Its files are in
live-adapter/, and the record beside them is written last.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

DIRECTORY = "live-adapter"
_RECORD = "live-adapter.json"


class LiveAdapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The adapter in service."""

    digest: str = ""
    """sha256:HEX of its image; empty: none is in service, or it is not known which."""
    version: str = ""
    """Its tag vN; empty: it has none."""
    problem: str = ""
    """Why its files are not there; empty: they are, or there is no such adapter."""

    @property
    def title(self) -> str:
        """What messages call it: its version, or the beginning of its digest."""
        return self.version or self.digest.removeprefix("sha256:")[:12]

    @property
    def is_there(self) -> bool:
        """Whether its files are on the volume."""
        return bool(self.digest) and not self.problem


def write_live_adapter(work_dir: Path, live: LiveAdapter) -> None:
    """Write the record on the run's volume."""
    atomic_write(work_dir / _RECORD, msgspec.json.encode(live) + b"\n")


def read_live_adapter(work_dir: Path) -> LiveAdapter | None:
    """Read the record; None if there is none. Raises PermanentError if it is another file."""
    path = work_dir / _RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=LiveAdapter)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise PermanentError(f"{path}: not the model step's record: {error}") from error
