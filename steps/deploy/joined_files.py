"""The files of an adapter in the directory of a service that it joins, until servers have them.

The service's servers serve what is there by its name (steps/serve/adapters_dir.py). What stands
beside it in .NAME, which they do not look at: the new adapter until it is whole, the one before
until the new one has answered, and a mark by which the next try undoes what a killed one left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write, remove_directory
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.served import DIGEST_FILE
from argotune.steps.deploy.adapter import unpack_adapter
from argotune.steps.deploy.params import Params

_BEFORE = "before"
_JOINING = "joining"
_LOOK_SECONDS = 1.0


@contextlib.contextmanager
def joined(params: Params, directory: Path) -> Iterator[None]:
    """Put the adapter among those of the directory, for good if the block ends well.

    On a failure the one that it replaced is there again. Raises StepError.
    """
    place, digest = directory / params.name, params.adapter_digest()
    aside = _aside(place)
    aside.mkdir(parents=True, exist_ok=True)
    _undo(place)
    if _digest_in(place) != digest:
        new = unpack_adapter(params, aside / digest.removeprefix("sha256:")[:16])
        atomic_write(new / DIGEST_FILE, f"{digest}\n")
        atomic_write(aside / _JOINING, digest)
        if place.is_dir():
            place.rename(aside / _BEFORE)
        new.rename(place)
    try:
        yield
    except BaseException:
        _undo(place)
        remove_directory(aside)
        raise
    (aside / _JOINING).unlink(missing_ok=True)
    remove_directory(aside)


class Servers(Protocol):
    """The servers of the service that is joined."""

    def late(self) -> list[str]:
        """Say what does not serve the adapter yet."""

    def refusals(self) -> frozenset[str]:
        """Collect what their logs say of an adapter of the name that they do not take."""


def wait_until_served(
    servers: Servers,
    known: frozenset[str],
    params: Params,
    *,
    clock: Clock,
    progress: Progress,
) -> None:
    """Wait until each server serves the adapter.

    `known` is what the logs said before. Raises PermanentError with the reason of a server that
    refuses it, and with what is missing at the timeout.
    """
    start = clock.now()
    while late := servers.late():
        refused = sorted(servers.refusals() - known)
        waited = clock.now() - start
        if refused:
            raise PermanentError(f"serve-with {params.serve_with}: {refused[0]}")
        if waited >= params.timeout_seconds:
            raise PermanentError(
                f"serve-with {params.serve_with}: the adapter was not served within"
                f" {params.timeout_seconds:.0f} s: {'; '.join(late)}"
            )
        progress.update(int(waited), int(params.timeout_seconds) + 1)
        clock.sleep(_LOOK_SECONDS)


def refusals_in(text: str, name: str) -> list[str]:
    """List the lines of a server's log that say why it does not take an adapter of the name."""
    return [line for line in text.splitlines() if f"adapter {name} is refused" in line]


def take_out(directory: Path, name: str) -> bool:
    """Have the service serve the adapter no more; returns whether it was there."""
    place = directory / name
    was_there = place.is_dir()
    remove_directory(place)
    remove_directory(_aside(place))
    return was_there


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}")


def _undo(place: Path) -> None:
    """Take out an adapter that has not answered, and put back the one before."""
    before, mark = _aside(place) / _BEFORE, _aside(place) / _JOINING
    if not mark.exists():
        return
    if _digest_in(place) == mark.read_text():
        remove_directory(place)
    if before.is_dir():
        before.rename(place)
    mark.unlink()


def _digest_in(place: Path) -> str:
    """sha256:HEX of the adapter that is there; empty if there is none."""
    file = place / DIGEST_FILE
    return file.read_text().strip() if file.is_file() else ""
