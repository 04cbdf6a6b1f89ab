"""The directories of runs on this machine: what they take, and their deletion."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import LocalRun, local_runs, processes
from argotune.workflows.cli.show.rows import parse_time
from argotune.workflows.engine.orphans import orphans
from argotune.workflows.engine.record import no_engine

_UNREADABLE = "Unreadable"
"""Phase of a directory without a record: its engine was killed at the start, or a disk was full."""
_BLOCK_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One directory of runs/."""

    name: str
    workspace: str
    """Empty where the record cannot be read."""
    phase: str
    created: str | None
    """Time, RFC 3339; None where the record cannot be read."""
    ended: str | None
    """Time, RFC 3339; None for a run that has not."""
    directory: Path
    size_bytes: int
    """What its files take on the disk."""

    def record(self) -> dict[str, Any]:
        """Return the entry for programs."""
        return {**asdict(self), "directory": str(self.directory)}


def entries(home: Home) -> list[Entry]:
    """List the directories of all runs, the newest first, and those that hold no run at the end."""
    runs = [_entry(run.directory, run) for run in local_runs(home)]
    known = {entry.directory for entry in runs}
    others = [path for path in sorted(home.runs_dir.glob("*/")) if path not in known]
    return runs + [_entry(path, None) for path in others]


def remove(entry: Entry) -> None:
    """Delete the run's directory. Raises InputError while it runs, or has left processes."""
    with no_engine(entry.directory) as is_so:
        if not is_so:
            raise InputError(f"{entry.name}: is running; stop it first: argotune stop {entry.name}")
        left = {group for groups in orphans(entry.directory).values() for group in groups}
        if left:
            raise InputError(
                f"{entry.name}: its killed engine has left {processes(left)}; end it first:"
                f" argotune stop {entry.name}"
            )
        shutil.rmtree(entry.directory)


def older_than(found: list[Entry], age: timedelta, now: datetime) -> list[Entry]:
    """Select the runs that ended, or whose engine was killed, before that age."""
    return [
        entry
        for entry in found
        if (time := parse_time(entry.ended or entry.created)) is not None and now - time > age
    ]


def size(count: float) -> str:
    """Format a number of bytes with a decimal unit."""
    value, units = count, ("B", "kB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in units[:2] else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {units[-1]}"


def _entry(directory: Path, run: LocalRun | None) -> Entry:
    return Entry(
        name=directory.name,
        workspace=run.workspace if run else "",
        phase=run.phase if run else _UNREADABLE,
        created=run.created or None if run else None,
        ended=run.ended if run else None,
        directory=directory,
        size_bytes=_size_bytes(directory),
    )


def _size_bytes(directory: Path) -> int:
    """Sum the blocks of all files, since files may be sparse; a running step may delete some."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_blocks * _BLOCK_BYTES
        except FileNotFoundError:
            continue
    return total
