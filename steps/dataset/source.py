"""What every file format offers: named columns, and batches of rows with their numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BATCH_BYTES = 4 << 20
"""Raw size at which a batch ends: a few of these are in memory at a time, whatever the file."""
BATCH_ROWS = 8192
MAX_ROW_BYTES = 64 << 20
"""Longest row of a text format; a file without line ends must not fill the memory."""

Values: TypeAlias = pa.Array | Sequence[object]
"""A column of a batch: Arrow's from parquet and arrow files, Python's from text formats."""


class FormatError(Exception):
    """The file's content is not what its format asks for."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column can be used for."""

    kind: Literal["messages", "text", "other"]
    type: str
    """The type in the format's own words, for messages."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows."""

    numbers: npt.NDArray[np.int64]
    """Row numbers from 1; line numbers in a jsonl file."""
    columns: Mapping[str, Values]
    malformed: npt.NDArray[np.bool_]
    """Rows that are no rows at all, such as a line that is not JSON; their values are None."""


class Source(Protocol):
    """One dataset file, open for reading."""

    def columns(self) -> Mapping[str, Column]:
        """The columns, in the file's order."""
        ...

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """All rows in order, with these columns."""
        ...

    def position(self) -> int:
        """About how many bytes of the file were read so far, for progress."""
        ...
