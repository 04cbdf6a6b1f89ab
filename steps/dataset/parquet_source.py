"""Parquet files, read page by page however large their row groups are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from argotune.steps.dataset.arrow_source import Slices, check_end, columns_of
from argotune.steps.dataset.decoded_size import value_sizes
from argotune.steps.dataset.source import BATCH_BYTES, BATCH_ROWS, Batch, Column

_READ_BUFFER_BYTES = 1 << 20
_MOST_PLAIN_BYTES = 64 << 20
"""Most that a batch may take when its dictionaries are written out, if every row had the longest
value of all."""
_MOST_SKEWED_BYTES = 1 << 30
_MOST_RATIO = 300
"""The same for a column chunk whose values may all be in one row's list, and how often a chunk may
repeat its own bytes. An ordinary chunk of long texts is above the one and below the other."""


class ParquetSource:
    """A parquet file.

    Its columns are decoded to plain values, except dictionary-encoded ones that repeat long values
    so often that a batch would not fit into memory. Those keep their dictionary, which takes six
    times as long where a chunk has few repetitions.
    """

    def __init__(self, path: Path) -> None:
        check_end(path, b"PAR1", "parquet")
        self._path = path
        self._size = path.stat().st_size
        self._file = self._open()
        self._rows = int(self._file.metadata.num_rows)
        self._slices = Slices(self._size)

    def columns(self) -> Mapping[str, Column]:
        """The columns of the schema."""
        return columns_of(self._file.schema_arrow)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        batch_rows = self._batch_rows(names)
        kept = self._kept_dictionaries(names, batch_rows)
        file = self._open(kept) if kept else self._file
        for record_batch in file.iter_batches(
            batch_size=batch_rows, columns=list(names), use_threads=False
        ):
            yield from self._slices.of(record_batch, names)

    def position(self) -> int:
        """Bytes read so far, estimated from the share of rows."""
        return self._size * self._slices.rows // max(1, self._rows)

    def _open(self, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
        # With a buffer size pages are read on demand, without one whole column chunks.
        return pq.ParquetFile(
            self._path,
            buffer_size=_READ_BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
            read_dictionary=list(dictionaries),
        )

    def _batch_rows(self, names: Collection[str]) -> int:
        """Rows per batch, from the largest average row size of the row groups."""
        largest = 1.0
        for index in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(index).num_rows
            wanted = (chunk.total_uncompressed_size for chunk in self._chunks(index, names))
            largest = max(largest, sum(wanted) / max(1, rows))
        return max(1, min(BATCH_ROWS, int(BATCH_BYTES / largest)))

    def _kept_dictionaries(self, names: Collection[str], batch_rows: int) -> list[str]:
        """Paths of the columns whose batches could be too large as plain values."""
        kept: dict[str, None] = {}
        for index in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(index).num_rows
            for chunk in self._chunks(index, names):
                if chunk.path_in_schema not in kept and self._repeats(
                    index, chunk, chunk.num_values / max(1, rows) * batch_rows
                ):
                    kept[chunk.path_in_schema] = None
        return list(kept)

    def _repeats(self, index: int, chunk: pq.ColumnChunkMetaData, values: float) -> bool:
        """Whether the chunk's longest value, that many times, is too large for a batch."""
        if chunk.physical_type != "BYTE_ARRAY" or not chunk.has_dictionary_page:
            return False
        # No value is longer than its chunk.
        if chunk.total_uncompressed_size * chunk.num_values <= _MOST_PLAIN_BYTES:
            return False
        longest = self._longest(index, chunk.path_in_schema)
        repeated = longest * chunk.num_values
        skewed = max(_MOST_SKEWED_BYTES, _MOST_RATIO * chunk.total_uncompressed_size)
        in_a_batch = longest * min(values, chunk.num_values)
        return bool(in_a_batch > _MOST_PLAIN_BYTES or repeated > skewed)

    def _longest(self, index: int, path: str) -> int:
        """Bytes of the longest value in a chunk's dictionary."""
        parts = self._open([path]).iter_batches(
            batch_size=BATCH_ROWS, row_groups=[index], columns=[path], use_threads=False
        )
        return next((size for part in parts if (size := _longest_of(part.column(0)))), 0)

    def _chunks(self, index: int, names: Collection[str]) -> Iterator[pq.ColumnChunkMetaData]:
        """The chunks of these columns in a row group."""
        group = self._file.metadata.row_group(index)
        for number in range(group.num_columns):
            chunk = group.column(number)
            if chunk.path_in_schema.split(".", 1)[0] in names:
                yield chunk


def _longest_of(values: pa.Array) -> int:
    """Bytes of the longest value in the one dictionary of nested values; 0 if it has none yet."""
    while not pa.types.is_dictionary(values.type):
        values = values.field(0) if pa.types.is_struct(values.type) else values.values
    return int(value_sizes(values.dictionary).max(initial=0))
