"""The record dataset.json with inputs and counts; it is written last and marks completeness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from argotune.steps.common.counted import counted
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts import data_report
from argotune.steps.contracts.row_origins import origins_file
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.local_files import identity_of

NAME = "dataset.json"
TRAIN = "train.parquet"
VALIDATION = "validation.parquet"
REJECTED = "rejected.jsonl"
FILES = (
    *(TRAIN, VALIDATION),
    *(origins_file(Path(name)).name for name in (TRAIN, VALIDATION)),
    *(data_report.NAME, data_report.PAGE),
)
"""Files that a complete dataset has, besides the refused rows."""

_VERSION = 5
"""Increased with every change after which the same input gives another dataset."""


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One input file."""

    url: str
    """URL without query."""
    size: int
    """Bytes."""
    sha256: str
    format: str
    columns: list[str]
    """Columns with the conversations."""
    unused_columns: list[str]
    """Columns that were not read, and that the plan does not name either."""
    unused_fields: list[str]
    """Fields of messages that were not read."""
    rows: int
    """All rows, including unusable ones."""
    is_held_out: bool
    """Whether it is a validation file, whose rows are all held out."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the train rows, as tune will count them."""

    tokens: int
    """Of all rows, up to max_length of each: one epoch."""
    learned_tokens: int
    """Those of them that are labels."""
    longest_row_tokens: int
    """Of the longest row, before it is cut."""
    cut_rows: int
    """Rows longer than max_length."""
    cut_tokens: int
    """Tokens that they lose."""
    validation_tokens: int
    """Of all held-out rows, up to max_length of each."""
    steps: int | None
    """Optimizer steps of the run, if it does not end early; None for too many rows to say so."""
    run_tokens: int | None = None
    """Tokens of the whole run, each epoch's again, likewise; None in earlier records too."""

    def __str__(self) -> str:
        steps = "" if self.steps is None else f", {counted(self.steps, 'step')}"
        return f"{self.tokens:,} tokens an epoch{steps}"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The content of dataset.json."""

    inputs: str
    """Digest of the inputs: URLs, the plan's data section, and what `tokens` depends on."""
    digest: str
    """sha256:HEX over the content of train and validation rows, in order."""
    rows: int
    train_rows: int
    validation_rows: int
    duplicate_rows: int
    removed_rows: int
    """Rows that are not trained on, because a row of the validation files asks the same."""
    rejected_rows: int
    unlearned_answers: int
    """Answers of usable rows that are context only, because a field of theirs says so."""
    rejected: dict[str, int]
    """Number of unusable rows by reason."""
    findings: str
    """What a person should look at, in one line; data.json has all of it."""
    tokens: Tokens | None
    """None where the plan step could not bring the model's tokenizer."""
    files: list[InputFile]
    sizes: dict[str, int]
    """Bytes of the files of a complete dataset."""
    held_out: list[str] = []
    """Questions that were held out whatever share and seed say, 16 hex digits each."""

    @property
    def summary(self) -> str:
        """What became of all rows, in one line."""
        removed = f"{self.removed_rows:,} asked in validation, " if self.removed_rows else ""
        return (
            f"{counted(self.rows + self.rejected_rows, 'row')}: {self.train_rows:,} to train, "
            f"{self.validation_rows:,} held out, {counted(self.duplicate_rows, 'duplicate')}, "
            f"{removed}{self.rejected_rows:,} refused"
            + ("" if self.tokens is None else f"; {self.tokens}")
        )


def inputs_digest(
    urls: Sequence[Sequence[str]], data: Data, judge: str | None, volume_dir: Path | None = None
) -> str:
    """Digest of URLs and data settings; for local files also of size and modification time.

    `urls` are those to train on and those of validation files.

    `judge` is the digest of what judges the rows, None without a tokenizer.
    """
    asked = {
        "version": _VERSION,
        "urls": [[identity_of(url, volume_dir) for url in each] for each in urls],
        "data": msgspec.to_builtins(data),
        "judge": judge,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def read_record(directory: Path, inputs: str) -> Record | None:
    """The record, if the directory has a complete dataset of these inputs, else None."""
    try:
        record = msgspec.json.decode((directory / NAME).read_bytes(), type=Record)
        sizes = {name: (directory / name).stat().st_size for name in FILES}
    except (OSError, msgspec.DecodeError):
        return None
    return record if record.inputs == inputs and record.sizes == sizes else None


def write_record(directory: Path, record: Record) -> None:
    """Write the record, which marks the dataset as complete."""
    atomic_write(directory / NAME, json.dumps(msgspec.to_builtins(record), indent=2) + "\n")
