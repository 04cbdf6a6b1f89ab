"""What earlier runs of a workspace held out that its share and seed alone do not tell.

Rows are held out by the hash of their question, so data that grow move none to the other side. The
exception are small datasets, of which the hash holds out none: then the nearest question is, and
stays so because it is on record here, beside the record of the last deployment. No rule without
memory does that and leaves neither side of every small dataset empty: if one of any two questions
is held out whatever comes later, all questions but one are in the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from argotune.steps.common import log
from argotune.steps.common.fs import atomic_write, locked
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.split import Split

_logger = logging.getLogger(__name__)
_HEX_DIGITS = 16


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """The content of NAME.held-out.json."""

    share: float
    """Share and seed of the last run."""
    seed: int
    questions: list[str]
    """Those that are held out whatever these say: `split.question_keys`, 16 hex digits each."""


def held_out_before(history_file: Path | None, data: Data) -> frozenset[int]:
    """The questions that stay held out; a warning where another share or seed moves others."""
    record = None if history_file is None else _read(_path(history_file))
    if record is None:
        return frozenset()
    before, now = (record.share, record.seed), (data.validation_share, data.split_seed)
    if before != now:
        log.warn(
            _logger,
            "split-changed",
            validation_share=f"{before[0]:g}, now {now[0]:g}",
            split_seed=f"{before[1]}, now {now[1]}",
            effect="rows change sides, so the losses of earlier runs are of other rows, and rows"
            " that the adapter in service was trained on are held out, or the other way round",
            advice="set both as they were",
        )
    if not data.validation_share:
        return frozenset()
    return questions_of(record.questions)


def remember_held_out(history_file: Path | None, split: Split) -> None:
    """Put the rule on record; runs of a workspace that end together take turns."""
    if history_file is None:
        return
    path = _path(history_file)
    with locked(path.with_name(f".{path.name}.lock")):
        record = _read(path)
        known = set(texts_of(split.held_out))
        known.update(record.questions if record is not None else ())
        latest = _Record(share=split.share, seed=split.seed, questions=sorted(known))
        if latest != record:
            atomic_write(path, msgspec.json.encode(latest))


def questions_of(texts: Iterable[str]) -> frozenset[int]:
    """Read questions that `texts_of` wrote. Raises ValueError for others."""
    return frozenset(int(text, 16) for text in texts)


def texts_of(questions: Iterable[int]) -> list[str]:
    """Write questions as 16 hex digits each, in order."""
    return sorted(f"{question:0{_HEX_DIGITS}x}" for question in questions)


def _path(history_file: Path) -> Path:
    return history_file.with_name(f"{history_file.stem}.held-out.json")


def _read(path: Path) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
