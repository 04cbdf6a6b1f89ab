"""Convert downloaded files into train and validation rows, one batch at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset import record
from argotune.steps.dataset.columns import ColumnMapping, map_columns, unused_columns
from argotune.steps.dataset.conversations import NOT_PARSED, TOO_LONG, Conversations, reject
from argotune.steps.dataset.findings import SAMPLES, Findings
from argotune.steps.dataset.formats import FileErrors, OpenFile
from argotune.steps.dataset.message_fields import LEARN_FIELDS, UnreadFields
from argotune.steps.dataset.messages import read_conversations
from argotune.steps.dataset.record import InputFile
from argotune.steps.dataset.rejected import Rejected, rejected_rows
from argotune.steps.dataset.source import Batch, Column
from argotune.steps.dataset.split import (
    DIGEST_BYTES,
    Ends,
    Keys,
    SeenRows,
    Split,
    digests,
    keys_of,
    question_keys,
)
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.dataset.token_counts import Judged, TokenCounts
from argotune.steps.dataset.write import RowWriter, row_writer

if TYPE_CHECKING:
    from argotune.steps.dataset.judge import Judge

_logger = logging.getLogger(__name__)
_NO_COLUMNS = ColumnMapping()


@dataclass(kw_only=True)
class Made:
    """Counts and digest of the dataset."""

    files: list[InputFile] = field(default_factory=list)
    rows: int = 0
    """All rows of all files."""
    duplicates: int = 0
    removed: int = 0
    """Rows that are not trained on, because a validation file asks the same."""
    rejected: dict[str, int] = field(default_factory=dict)
    unlearned_answers: int = 0
    """Answers of usable rows that a field of theirs keeps from being learned."""
    train_rows: int = 0
    validation_rows: int = 0
    train_tokens: TokenCounts | None = None
    """None without a judge, as `validation_tokens`."""
    validation_tokens: TokenCounts | None = None
    digest: bytes = b""
    unusable: Rejected | None = None
    findings: Findings
    ends: Ends = field(default_factory=Ends)
    split: Split
    """The rule that chose the held-out rows."""


def make_dataset(
    files: Sequence[DatasetFile],
    data: Data,
    directory: Path,
    *,
    validation_files: Sequence[DatasetFile] = (),
    scratch_dir: Path,
    judge: Judge | None,
    on_bytes: Callable[[int], None],
    samples: int = SAMPLES,
    held_out: frozenset[int] = frozenset(),
) -> Made:
    """Write the parquet files; whether they are good enough to train on, `check_dataset` tells.

    The rows of validation files are the held-out ones; without such files the split chooses them.
    Without a judge, what only the model's tokenizer can tell stays unknown. `samples` is the number
    of rows whose texts are among the findings, `held_out` has the questions that stay held out.
    """
    share = 0.0 if validation_files else data.validation_share
    split = Split(share=share, seed=data.split_seed, held_out=held_out)
    columns: dict[Path, Mapping[str, Column]] = {}
    while True:
        try:
            findings = Findings(judge, samples)
            making = _Making(
                data, split, columns, directory, scratch_dir, judge, on_bytes, findings
            )
            made = making.run(files, validation_files)
        except _LaterColumns as later:
            # At most once for each file, because its whole content has been read.
            columns[later.path] = later.columns
            continue
        if validation_files:
            return made
        repaired = split.repaired(
            made.ends, train_rows=made.train_rows, held_out_rows=made.validation_rows
        )
        if repaired == split:
            return made
        split = repaired


def check_dataset(made: Made, data: Data, judge: Judge | None) -> None:
    """Raise PermanentError if too many rows are unusable or cut, or none is left."""
    rejected = made.unusable
    if made.rows == 0 or rejected is None:
        urls = ", ".join(file.url for file in made.files)
        raise PermanentError(f"none of the files has rows: {urls}")
    rejected.check_share(made.rows, data.max_rejected_share)
    if made.removed:
        log.warn(
            _logger,
            "asked-in-validation",
            rows=made.removed,
            effect="they ask what a validation file asks, and are not trained on",
        )
    if made.train_rows + made.validation_rows == 0:
        raise PermanentError(f"no row is usable for training: {rejected.summary()}")
    if any(file.is_held_out for file in made.files):
        _check_validation(made)
    elif data.validation_share and not made.validation_rows:
        log.warn(
            _logger,
            "nothing-is-held-out",
            reason="all rows ask the same question",
            effect="no loss tells whether the adapter is better than the model without it",
        )
    if judge is not None and made.train_tokens is not None:
        judge.check_cut(made.train_tokens, made.train_rows)


def _check_validation(made: Made) -> None:
    """Raise PermanentError where validation files leave one side without rows."""
    if not made.validation_rows:
        urls = ", ".join(file.url for file in made.files if file.is_held_out)
        raise PermanentError(f"no row of the validation files is usable: {urls}")
    if not made.train_rows:
        asked = f"{made.removed} ask what the validation files ask; " if made.removed else ""
        raise PermanentError(
            f"no row is left to train on: {asked}give training files with other questions"
        )


class _LaterColumns(Exception):
    """A file has columns behind its first rows that change which ones are read."""

    def __init__(self, path: Path, columns: Mapping[str, Column]) -> None:
        self.path = path
        self.columns = columns
        super().__init__(path)


class _Making:
    """One pass over all files."""

    def __init__(
        self,
        data: Data,
        split: Split,
        columns: Mapping[Path, Mapping[str, Column]],
        directory: Path,
        scratch_dir: Path,
        judge: Judge | None,
        on_bytes: Callable[[int], None],
        findings: Findings,
    ) -> None:
        self._data = data
        self._split = split
        self._columns = columns
        self._directory = directory
        self._scratch_dir = scratch_dir
        self._judge = judge
        self._on_bytes = on_bytes
        self._seen = SeenRows()
        self._asked: list[Keys] = []
        """Questions of the validation files."""
        self._made = Made(findings=findings, split=split)
        if judge is not None:
            self._made.train_tokens = TokenCounts()
            self._made.validation_tokens = TokenCounts()

    def run(self, files: Sequence[DatasetFile], validation_files: Sequence[DatasetFile]) -> Made:
        """Read, check, split and write all rows, those of validation files first."""
        made = self._made
        with (
            rejected_rows(self._directory / record.REJECTED) as rejected,
            row_writer(self._directory / record.TRAIN) as train,
            row_writer(self._directory / record.VALIDATION) as validation,
        ):
            for file in validation_files:
                made.files.append(self._add_file(file, True, rejected, train, validation))
            for file in files:
                made.files.append(self._add_file(file, False, rejected, train, validation))
            made.rows = sum(each.rows for each in made.files)
            made.train_rows, made.validation_rows = train.rows, validation.rows
            made.rejected = rejected.by_reason()
        made.digest = train.digest() + validation.digest()
        rejected.report()
        if made.unlearned_answers:
            fields = ", ".join(f"{name}: 0" for name in LEARN_FIELDS)
            log.event(
                _logger, "answers-not-learned", answers=made.unlearned_answers, because_of=fields
            )
        made.unusable = rejected
        return made

    def _add_file(
        self,
        file: DatasetFile,
        is_held_out: bool,
        rejected: Rejected,
        train: RowWriter,
        validation: RowWriter,
    ) -> InputFile:
        before = sum(each.size for each in self._made.files)
        opened = OpenFile(file, self._scratch_dir)
        columns = self._columns.get(file.path) or opened.columns()
        mapped = _map(file, columns, self._data) if columns else _NO_COLUMNS
        names, rows, unread = mapped.names(), 0, UnreadFields()
        log.event(_logger, "reading", file=file.url, format=opened.format, columns=",".join(names))
        for batch in opened.batches(names):
            rows += len(batch.numbers)
            self._add_batch(file, is_held_out, batch, mapped, unread, rejected, train, validation)
            self._on_bytes(before + opened.position())
            _return_memory()
        if not rows:
            log.warn(_logger, "no-rows", file=file.url)
        found = opened.columns() if rows else {}
        if found.keys() - columns.keys() and _map(file, found, self._data) != mapped:
            raise _LaterColumns(file.path, found)
        return InputFile(
            url=file.url,
            size=file.size,
            sha256=file.sha256,
            format=opened.format,
            columns=names,
            unused_columns=self._unused(file, found, mapped),
            unused_fields=_warn_of(file, unread),
            rows=rows,
            is_held_out=is_held_out,
        )

    def _unused(
        self, file: DatasetFile, columns: Mapping[str, Column], mapped: ColumnMapping
    ) -> list[str]:
        unused = unused_columns(columns, mapped, self._data)
        if unused:
            log.warn(_logger, "columns-unused", file=file.url, columns=",".join(unused))
        return unused

    def _add_batch(
        self,
        file: DatasetFile,
        is_held_out: bool,
        batch: Batch,
        mapped: ColumnMapping,
        unread: UnreadFields,
        rejected: Rejected,
        train: RowWriter,
        validation: RowWriter,
    ) -> None:
        if not mapped.names():
            # No row so far has a column, so none is a row.
            reasons = np.full(len(batch.numbers), NOT_PARSED, dtype=np.uint8)
            rejected.add(file.url, batch.numbers, reasons, batch.problem)
            return
        with FileErrors(file):
            conversations = read_conversations(batch, mapped, unread)
        reasons = reject(conversations)
        reasons[batch.too_long] = TOO_LONG
        rejected.add(file.url, batch.numbers, reasons, batch.problem)
        usable = conversations.select(reasons == 0)
        numbers = batch.numbers[reasons == 0]
        if not is_held_out:
            usable, numbers = self._without_asked(usable, numbers)
        found = digests(usable)
        new = self._seen.add(keys_of(found))
        self._made.duplicates += int((~new).sum())
        self._made.findings.add_repeated(len(self._made.files), numbers[~new])
        usable, numbers = usable.select(new), numbers[new]
        each = np.frombuffer(found, dtype=f"V{DIGEST_BYTES}")[new]
        judged = self._judge.judge(usable) if self._judge is not None else None
        if judged is not None:
            rejected.add(file.url, numbers, judged.reasons, details=judged.details)
            good = judged.reasons == 0
            usable, each, judged = usable.select(good), each[good], judged.select(good)
            numbers = numbers[good]
        self._made.unlearned_answers += int(usable.unlearned_answers().sum())
        self._add_rows(
            file.url, usable, is_held_out, numbers, each.tobytes(), judged, train, validation
        )

    def _without_asked(
        self, conversations: Conversations, numbers: npt.NDArray[np.int64]
    ) -> tuple[Conversations, npt.NDArray[np.int64]]:
        """The rows that ask nothing of the validation files, and their numbers."""
        if not self._asked:
            return conversations, numbers
        # One sorted array, however many batches the validation files had.
        self._asked = [np.unique(np.concatenate(self._asked))]
        asked = np.isin(question_keys(conversations), self._asked[0])
        self._made.removed += int(asked.sum())
        self._made.findings.add_asked(len(self._made.files), numbers[asked])
        return conversations.select(~asked), numbers[~asked]

    def _add_rows(
        self,
        url: str,
        conversations: Conversations,
        is_held_out: bool,
        numbers: npt.NDArray[np.int64],
        row_digests: bytes,
        judged: Judged | None,
        train: RowWriter,
        validation: RowWriter,
    ) -> None:
        made = self._made
        if not len(conversations.lengths):
            return
        questions = question_keys(conversations)
        if is_held_out:
            self._asked.append(questions)
            held_out = np.ones(len(questions), dtype=np.bool_)
        else:
            made.ends.add(questions, self._split.order(questions))
            held_out = self._split.held_out_rows(questions)
        made.findings.add(len(made.files), numbers, conversations, held_out, judged)
        each = np.frombuffer(row_digests, dtype=f"V{DIGEST_BYTES}")
        for writer, counts, rows in (
            (train, made.train_tokens, ~held_out),
            (validation, made.validation_tokens, held_out),
        ):
            if rows.any():
                writer.add(
                    conversations.select(rows), each[rows].tobytes(), url=url, numbers=numbers[rows]
                )
            if counts is not None and judged is not None:
                counts.add(judged.select(rows))


def _map(file: DatasetFile, columns: Mapping[str, Column], data: Data) -> ColumnMapping:
    try:
        return map_columns(columns, data)
    except PermanentError as error:
        raise PermanentError(f"{file.url}: {error}") from error


def _warn_of(file: DatasetFile, unread: UnreadFields) -> list[str]:
    """Log the names of the messages' fields that are not read, once for each file."""
    names = list(unread)
    if names:
        log.warn(_logger, "message-fields-unused", file=file.url, fields=",".join(names))
    return names


def _return_memory() -> None:
    """Return freed memory to the system; otherwise Arrow's allocator keeps 60 MB."""
    pa.default_memory_pool().release_unused()
