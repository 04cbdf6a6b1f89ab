"""Interface of the file formats: named columns, and batches of numbered rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BATCH_BYTES = 4 << 20
"""Size of a batch with dictionaries written out, unless one row alone is larger; a few batches are
in memory at a time, regardless of the file's size."""
BATCH_ROWS = 8192
MAX_ROW_BYTES = 16 << 20
"""Longest row: about four million tokens, and twenty times as much memory at worst when it is JSON.
Longer rows are rejected; json and csv, where only the row itself says where it ends, end there."""
_MAX_RATIO = 300
_RATIO_COUNTS_FROM_BYTES = 1 << 30
"""Up to this size any compression ratio is accepted; above it a high ratio is a bomb."""

Values: TypeAlias = pa.Array | Sequence[object]
"""A column of a batch: Arrow's from parquet and arrow files, Python's from text formats."""


NOT_UTF_8 = "convert it to UTF-8, for example with iconv -f LATIN1 -t UTF-8"
"""What to do with a text in another encoding."""


class FormatError(Exception):
    """The file's content is invalid for its format."""


class Expansion:
    """Counts the bytes that a file gives, to end one that gives far more than it has."""

    def __init__(self, size: int) -> None:
        """`size` is the file's own, bytes."""
        self._most = max(_RATIO_COUNTS_FROM_BYTES, _MAX_RATIO * size)
        self._given = 0

    def add(self, count: int) -> None:
        """Count further bytes. Raises FormatError if the file is a decompression bomb."""
        self._given += count
        if self._given > self._most:
            raise FormatError(f"it decompresses to more than {_MAX_RATIO} times its size")


Kind: TypeAlias = Literal["messages", "list", "text", "other"]
"""A list of messages, or one that may be; another list; text or numbers; anything else."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Kind and type of a column."""

    kind: Kind
    type: str
    """Name of the type in the file format, for messages."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of n rows."""

    numbers: npt.NDArray[np.int64]
    """Row numbers from 1; line numbers in a jsonl file."""
    columns: Mapping[str, Values]
    malformed: npt.NDArray[np.bool_]
    """Rows that could not be parsed, such as a line that is not JSON; their values are None."""
    problem: str = ""
    """Why the first of these could not be parsed."""
    too_long: npt.NDArray[np.bool_]
    """Rows of over MAX_ROW_BYTES; their values are None."""


class Source(Protocol):
    """One dataset file, open for reading."""

    def columns(self) -> Mapping[str, Column]:
        """The columns, in the file's order; of a text format those that were read so far.

        At first these are the ones of the first rows.
        """
        ...

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        ...

    def position(self) -> int:
        """Approximate number of the file's bytes read so far, for progress."""
        ...
