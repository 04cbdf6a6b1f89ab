"""Convert downloaded files into train and validation rows, one batch at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset import record
from argotune.steps.dataset.columns import map_columns
from argotune.steps.dataset.formats import OpenFile
from argotune.steps.dataset.messages import TOO_LONG, Conversations, read_conversations, reject
from argotune.steps.dataset.record import InputFile
from argotune.steps.dataset.rejected import Rejected, rejected_rows
from argotune.steps.dataset.split import DIGEST_BYTES, SeenRows, Split, digests, keys_of
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.dataset.write import RowWriter, row_writer

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Made:
    """Counts and digest of the dataset."""

    files: list[InputFile] = field(default_factory=list)
    rows: int = 0
    """All rows of all files."""
    duplicates: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    train_rows: int = 0
    validation_rows: int = 0
    digest: bytes = b""
    lowest: int | None = None
    """Lowest order of a row (argotune.steps.dataset.split), which is held out first."""
    highest: int | None = None


def make_dataset(
    files: Sequence[DatasetFile],
    data: Data,
    directory: Path,
    *,
    scratch_dir: Path,
    on_bytes: Callable[[int], None],
) -> Made:
    """Write the parquet files. Raises PermanentError if too many rows are unusable."""
    split = Split(share=data.validation_share, seed=data.split_seed)
    made = _Making(data, split, directory, scratch_dir, on_bytes).run(files)
    repaired = _repair_split(split, made)
    if repaired is None:
        return made
    return _Making(data, repaired, directory, scratch_dir, on_bytes).run(files)


def _repair_split(split: Split, made: Made) -> Split | None:
    """A split that moves the nearest row to an empty side, or None if no side is empty.

    The hash may put all rows of a small dataset on one side.
    """
    if made.train_rows == 0:
        return replace(split, kept=made.highest)
    if made.validation_rows == 0 and split.share > 0 and made.train_rows > 1:
        return replace(split, held_out=made.lowest)
    return None


class _Making:
    """One pass over all files."""

    def __init__(
        self,
        data: Data,
        split: Split,
        directory: Path,
        scratch_dir: Path,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._data = data
        self._split = split
        self._directory = directory
        self._scratch_dir = scratch_dir
        self._on_bytes = on_bytes
        self._seen = SeenRows()
        self._made = Made()

    def run(self, files: Sequence[DatasetFile]) -> Made:
        """Read, check, split and write all rows."""
        made = self._made
        with (
            rejected_rows(self._directory / record.REJECTED) as rejected,
            row_writer(self._directory / record.TRAIN) as train,
            row_writer(self._directory / record.VALIDATION) as validation,
        ):
            for file in files:
                made.files.append(self._add_file(file, rejected, train, validation))
            made.rows = sum(each.rows for each in made.files)
            made.train_rows, made.validation_rows = train.rows, validation.rows
            made.rejected = rejected.by_reason()
        made.digest = train.digest() + validation.digest()
        rejected.report()
        _check(made, rejected, self._data)
        return made

    def _add_file(
        self, file: DatasetFile, rejected: Rejected, train: RowWriter, validation: RowWriter
    ) -> InputFile:
        before = sum(each.size for each in self._made.files)
        opened = OpenFile(file, self._scratch_dir)
        columns = opened.columns()
        if not columns:
            raise PermanentError(f"{file.url}: the file has no rows")
        try:
            mapped = map_columns(columns, self._data)
        except PermanentError as error:
            raise PermanentError(f"{file.url}: {error}") from error
        names, rows = mapped.names(), 0
        log.event(_logger, "reading", file=file.url, format=opened.format, columns=",".join(names))
        for batch in opened.batches(names):
            rows += len(batch.numbers)
            conversations = read_conversations(batch, mapped)
            reasons = reject(conversations)
            reasons[batch.too_long] = TOO_LONG
            rejected.add(file.url, batch.numbers, reasons)
            self._add_rows(conversations.select(reasons == 0), train, validation)
            self._on_bytes(before + opened.position())
            _return_memory()
        return InputFile(
            url=file.url,
            size=file.size,
            sha256=file.sha256,
            format=opened.format,
            columns=names,
            rows=rows,
        )

    def _add_rows(
        self, conversations: Conversations, train: RowWriter, validation: RowWriter
    ) -> None:
        found = digests(conversations)
        keys = keys_of(found)
        new = self._seen.add(keys)
        self._made.duplicates += int((~new).sum())
        if not new.any():
            return
        order = self._split.order(keys)
        self._note_order(order[new])
        held_out = self._split.held_out_rows(order)
        each = np.frombuffer(found, dtype=f"V{DIGEST_BYTES}")
        for writer, rows in ((train, new & ~held_out), (validation, new & held_out)):
            if rows.any():
                writer.add(conversations.select(rows), each[rows].tobytes())

    def _note_order(self, order: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        made, lowest, highest = self._made, int(order.min()), int(order.max())
        made.lowest = lowest if made.lowest is None else min(made.lowest, lowest)
        made.highest = highest if made.highest is None else max(made.highest, highest)


def _check(made: Made, rejected: Rejected, data: Data) -> None:
    if made.rows == 0:
        raise PermanentError("none of the files has rows")
    rejected.check_share(made.rows, data.max_rejected_share)
    if made.train_rows + made.validation_rows == 0:
        raise PermanentError(f"no row is usable for training: {rejected.summary()}")


def _return_memory() -> None:
    """Return freed memory to the system; otherwise Arrow's allocator keeps 60 MB."""
    pa.default_memory_pool().release_unused()
