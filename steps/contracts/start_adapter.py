"""The adapter with whose weights training begins, on the run's volume for `tune`.

The model step finds and checks it. Its files are in start-adapter/, and the record beside them is
written last.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

DIRECTORY = "start-adapter"
NONE, LIVE = "none", "live"
"""Values of the setting start-from beside an image: a new adapter, and the one in service."""
_RECORD = "start-adapter.json"


class StartAdapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The adapter with which training begins, or that it begins with a new one."""

    digest: str = ""
    """sha256:HEX of its image; empty: training begins with a new adapter."""
    warm_starts: int = 0
    """Runs since one that began with a new adapter, this one included."""

    @property
    def title(self) -> str:
        """What reports call it."""
        return f"adapter {self.digest}" if self.digest else "a new adapter"


def write_start_adapter(work_dir: Path, start: StartAdapter) -> None:
    """Write the record on the run's volume."""
    atomic_write(work_dir / _RECORD, msgspec.json.encode(start) + b"\n")


def read_start_adapter(work_dir: Path) -> StartAdapter | None:
    """Read the record; None if there is none. Raises PermanentError if it is another file."""
    path = work_dir / _RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=StartAdapter)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise PermanentError(f"{path}: not the model step's record: {error}") from error


def start_of(work_dir: Path, start_from: str) -> StartAdapter:
    """The adapter with which the run's training begins, by its plan's `start_from`.

    Raises PermanentError where the model step has not brought the one that the plan asks for.
    """
    if start_from == NONE:
        return StartAdapter()
    found = read_start_adapter(work_dir)
    if found is None:
        raise PermanentError(
            f"{work_dir / _RECORD} is missing: the plan begins with {start_from}, which the model"
            " step brings first"
        )
    return found
