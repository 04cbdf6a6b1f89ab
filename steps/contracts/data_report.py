"""What the dataset step found in the data: `data.json`, which the page and the command line show.

It has numbers, and the first rows of each finding. Of the texts it has those of a few rows, in
which the values of `sensitive` are masked.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from argotune.steps.common.counted import counted
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

NAME, PAGE = "data.json", "data.html"
"""Files beside the dataset."""
VERSION = 1
MOST_PLACES = 20
"""Rows that are named of a finding."""


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Place(_Section, frozen=True, kw_only=True):
    """A row of an input file."""

    file: int
    """Index into the report's files."""
    row: int
    """Number of the row from 1; of the line in a jsonl file."""


class Finding(_Section, frozen=True, kw_only=True):
    """Rows of which one thing is true."""

    what: str
    rows: int
    first: list[Place]
    """At most MOST_PLACES of them."""
    values: int | None = None
    """Number of values in these rows, where one may have several."""


class Pair(_Section, frozen=True, kw_only=True):
    """Two rows that say nearly the same."""

    place: Place
    other: Place
    similarity: float
    """Share of their runs of three words that both have, estimated, 0 to 1."""


class Pairs(_Section, frozen=True, kw_only=True):
    """Rows that have another one which says nearly the same."""

    rows: int
    first: list[Pair]
    """At most MOST_PLACES of them."""


class Duplicates(_Section, frozen=True, kw_only=True):
    """Rows that say the same as others."""

    exact: Finding
    """Rows that repeat an earlier one; they are dropped, so none stands on both sides."""
    asked: Finding = Finding(what="ask what a validation file asks", rows=0, first=[])
    """Rows that are not trained on, because a validation file asks the same."""
    near: Pairs
    """Usable rows that nearly repeat an earlier one; they are kept."""
    on_both_sides: Pairs
    """Held-out rows that nearly repeat one to train on, which makes the held-out loss too good."""
    compared_rows: int
    """Rows among which near duplicates were looked for."""


class Bin(_Section, frozen=True, kw_only=True):
    """One bar of the histogram."""

    first: int
    last: int
    """Lengths of the bin, tokens, both included."""
    rows: int


class Steps(_Section, frozen=True, kw_only=True):
    """The optimizer steps of the run, if it does not end early."""

    total: int
    per_epoch: int
    tokens_per_step: int
    run_tokens: int
    """Tokens of the whole run, each epoch's again."""
    warning: str
    """What few steps mean, and what to do; empty if they are enough."""


class Tokens(_Section, frozen=True, kw_only=True):
    """What the model's tokenizer makes of the rows, both sides of the split together or one."""

    train: int
    """Tokens of the rows to train on, after the cut: those of one epoch."""
    learned: int
    """Those of them that are labels."""
    held_out: int
    steps: Steps | None
    """None for too many rows to say so."""
    max_length: int
    """Longest row in tokens; the rest of longer ones is cut."""
    cut: Finding
    """Rows that are cut; `values` are the tokens that they lose."""
    lengths: list[Bin]
    """Histogram of the rows' tokens before the cut."""
    median: int
    longest: int


class Part(_Section, frozen=True, kw_only=True):
    """A piece of a row's text."""

    text: str
    learned: bool


class Sample(_Section, frozen=True, kw_only=True):
    """One row as the model reads it."""

    place: Place
    held_out: bool
    tokens: int | None
    """None where nobody counted."""
    parts: list[Part]
    """Its text in order; long texts end with an ellipsis."""


class DataReport(_Section, frozen=True, kw_only=True):
    """The content of data.json."""

    version: int = VERSION
    name: str
    """Name of the workspace."""
    model: str
    """Preset of the model that is tuned."""
    files: list[str]
    """URLs without queries."""
    validation_files: int = 0
    """How many of the first files are validation files, whose rows are all held out."""
    rows: int
    """All rows of all files."""
    train_rows: int
    held_out_rows: int
    refused: list[Finding]
    """Unusable rows, by reason."""
    unused_columns: list[str]
    duplicates: Duplicates
    sensitive: list[Finding]
    """E-mail addresses, keys and other secrets, by kind, among usable rows."""
    tokens: Tokens | None
    """None where the step had no tokenizer."""
    samples: list[Sample]

    @property
    def refused_rows(self) -> int:
        """Number of unusable rows."""
        return sum(each.rows for each in self.refused)

    def place_text(self, place: Place) -> str:
        """The row's number, with the file's name where there are several."""
        if len(self.files) == 1:
            return str(place.row)
        return f"{self.files[place.file].rpartition('/')[2]}:{place.row}"

    def places_text(self, finding: Finding) -> str:
        """The first rows of a finding, with dots where there are more."""
        shown = ", ".join(map(self.place_text, finding.first))
        return shown + (", …" if finding.rows > len(finding.first) else "")

    def pairs_text(self, pairs: Pairs) -> str:
        """The first pairs, with dots where there are more."""
        shown = ", ".join(
            f"{self.place_text(each.place)} ~ {self.place_text(each.other)}" for each in pairs.first
        )
        return shown + (", …" if pairs.rows > len(pairs.first) else "")

    def compared_text(self) -> str:
        """Among which rows near duplicates were looked for; empty where among all."""
        compared, kept = self.duplicates.compared_rows, self.train_rows + self.held_out_rows
        if compared >= kept:
            return ""
        return f"near ones among the first {compared:,} of {kept:,} rows"

    def cut_text(self, tokens: Tokens) -> str:
        """What max_length cuts, in a sentence."""
        cut, most = tokens.cut, tokens.max_length
        if not cut.rows:
            return f"No row is longer than max_length, {most:,} tokens."
        return (
            f"max_length, {most:,} tokens, cuts {counted(cut.values or 0, 'token')} of"
            f" {counted(cut.rows, 'longer row')}: {self.places_text(cut)}."
        )

    def summary(self) -> str:
        """What a person should look at, in one line; empty where there is nothing."""
        cut = self.tokens.cut.rows if self.tokens else 0
        near, both = self.duplicates.near.rows, self.duplicates.on_both_sides.rows
        told = [
            (self.duplicates.asked.rows, "rows that the validation files ask, not trained on"),
            (near, "near duplicates"),
            (both, "held-out rows that are nearly trained on"),
            (cut, "rows cut"),
            *((each.rows, f"rows with {each.what}") for each in self.sensitive),
        ]
        return ", ".join(f"{what}: {rows}" for rows, what in told if rows)


def write_report(directory: Path, report: DataReport) -> None:
    """Write data.json, atomically."""
    content = msgspec.json.format(msgspec.json.encode(report), indent=1)
    atomic_write(directory / NAME, content.decode() + "\n")


def parse_report(content: bytes) -> DataReport:
    """Parse data.json. Raises PermanentError for one of another version, or for something else."""
    try:
        found = msgspec.json.decode(content, type=DataReport)
    except msgspec.DecodeError as error:
        raise PermanentError(f"{NAME} is none of this version of argotune: {error}") from error
    if found.version != VERSION:
        raise PermanentError(
            f"{NAME} has version {found.version}, and this argotune reads {VERSION}; use the one"
            " that made the run"
        )
    return found
