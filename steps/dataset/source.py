"""Interface of the file formats: named columns, and batches of numbered rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BATCH_BYTES = 4 << 20
"""Raw size of a batch; a few batches are in memory at a time, regardless of the file's size."""
BATCH_ROWS = 8192
MAX_ROW_BYTES = 64 << 20
"""Longest row of a text format, so that a file without line ends does not fill the memory."""

Values: TypeAlias = pa.Array | Sequence[object]
"""A column of a batch: Arrow's from parquet and arrow files, Python's from text formats."""


class FormatError(Exception):
    """The file's content is invalid for its format."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Kind and type of a column."""

    kind: Literal["messages", "text", "other"]
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


class Source(Protocol):
    """One dataset file, open for reading."""

    def columns(self) -> Mapping[str, Column]:
        """The columns, in the file's order."""
        ...

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        ...

    def position(self) -> int:
        """Approximate number of the file's bytes read so far, for progress."""
        ...
