"""A cheap look at the sources: whether they still have what the last dataset was made of.

The record beside that of the last deployment has the dataset's own record, and for each file what
tells it from any other: a sum, a commit, a digest, or the server's tag with the number of bytes. If
all of them and all settings are the same, the rows are too, and nothing is downloaded. Whatever is
not told for sure, such as a weak ETag, has the content decide.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from argotune.steps.common import log
from argotune.steps.common.fs import atomic_write, locked
from argotune.steps.dataset.record import Record
from argotune.steps.dataset.target import Target

_logger = logging.getLogger(__name__)

Identities = list[list[str]]
"""What identifies the files of each URL, in the order of the URLs."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The content of NAME.sources.json."""

    key: str
    """Digest of URLs, settings, and what else decides what is made of the files."""
    identities: Identities
    record: Record
    """Of the dataset that was made of them."""


def key_of(inputs: str, held_out: frozenset[int]) -> str:
    """What decides the dataset beside its files: the inputs and what stays held out."""
    return hashlib.sha256(f"{inputs} {sorted(held_out)}".encode()).hexdigest()


def identities_of(targets: Sequence[Sequence[Target]]) -> Identities | None:
    """What identifies the fetched files; None where one of them has no sign of a change."""
    found: Identities = []
    for each in targets:
        # The files of an image have one digest.
        known = list(dict.fromkeys(target.identity() for target in each))
        if None in known:
            return None
        found.append([text for text in known if text is not None])
    return found


def last_seen(history_file: Path, key: str) -> Seen | None:
    """What the last dataset of the workspace was made of; None where anything else differs."""
    seen = _read(_path(history_file))
    return seen if seen is not None and seen.key == key else None


def are_unchanged(seen: Seen, now: Identities | None) -> bool:
    """Whether the sources still have the same files, as a look at them tells."""
    if now == seen.identities:
        log.event(_logger, "sources-unchanged", digest=seen.record.digest)
        return True
    log.event(_logger, "sources-may-have-changed", effect="the content decides")
    return False


def remember_sources(
    history_file: Path | None, key: str, identities: Identities | None, record: Record
) -> None:
    """Put the sources on record; runs of a workspace that end together take turns."""
    if history_file is None:
        return
    path = _path(history_file)
    with locked(path.with_name(f".{path.name}.lock")):
        if identities is None:
            path.unlink(missing_ok=True)
            return
        seen = Seen(key=key, identities=identities, record=record)
        atomic_write(path, msgspec.json.encode(seen))


def _path(history_file: Path) -> Path:
    return history_file.with_name(f"{history_file.stem}.sources.json")


def _read(path: Path) -> Seen | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Seen)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
