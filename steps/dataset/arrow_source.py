"""Parquet files, Arrow IPC files and Arrow IPC streams."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from argotune.steps.dataset.source import BATCH_BYTES, BATCH_ROWS, Batch, Column, FormatError

_READ_BUFFER_BYTES = 1 << 20
_MAGIC_BYTES = 8


class ParquetSource:
    """A parquet file, read page by page however large its row groups are."""

    def __init__(self, path: Path) -> None:
        _check_end(path, b"PAR1", "parquet")
        self._size = path.stat().st_size
        # With a buffer size pages are read on demand, without one whole column chunks.
        self._file = pq.ParquetFile(
            path,
            buffer_size=_READ_BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        self._rows = int(self._file.metadata.num_rows)
        self._rows_read = 0

    def columns(self) -> Mapping[str, Column]:
        """The columns of the schema."""
        return _columns(self._file.schema_arrow)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        for record_batch in self._file.iter_batches(
            batch_size=self._batch_rows(names), columns=list(names), use_threads=False
        ):
            yield from _slices(record_batch, self._rows_read, names)
            self._rows_read += record_batch.num_rows

    def position(self) -> int:
        """Bytes read so far, estimated from the share of rows."""
        return self._size * self._rows_read // max(1, self._rows)

    def _batch_rows(self, names: Collection[str]) -> int:
        """Rows per batch, from the largest average row size of the row groups."""
        metadata = self._file.metadata
        largest = 1.0
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            columns = (group.column(number) for number in range(group.num_columns))
            wanted = (
                column.total_uncompressed_size
                for column in columns
                if column.path_in_schema.split(".", 1)[0] in names
            )
            largest = max(largest, sum(wanted) / max(1, group.num_rows))
        return max(1, min(BATCH_ROWS, int(BATCH_BYTES / largest)))


class ArrowFileSource:
    """An Arrow IPC file, also known as Feather version 2."""

    def __init__(self, path: Path) -> None:
        _check_end(path, b"ARROW1", "arrow")
        self._size = path.stat().st_size
        # A file may have one record batch of many GB; with mmap only the current slice is loaded.
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._count = int(self._reader.num_record_batches)
        self._batches_read = 0

    def columns(self) -> Mapping[str, Column]:
        """The columns of the schema."""
        return _columns(self._reader.schema)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        first = 0
        for index in range(self._count):
            record_batch = self._reader.get_batch(index)
            yield from _slices(record_batch, first, names)
            first += record_batch.num_rows
            self._batches_read += 1

    def position(self) -> int:
        """Bytes read so far, estimated from the share of record batches."""
        return self._size * self._batches_read // max(1, self._count)


class ArrowStreamSource:
    """An Arrow IPC stream, such as the .arrow files of Hugging Face's datasets library."""

    def __init__(self, path: Path) -> None:
        self._map = pa.memory_map(str(path))
        self._reader = pa.ipc.open_stream(self._map)

    def columns(self) -> Mapping[str, Column]:
        """The columns of the schema."""
        return _columns(self._reader.schema)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        first = 0
        for record_batch in self._reader:
            yield from _slices(record_batch, first, names)
            first += record_batch.num_rows

    def position(self) -> int:
        """Bytes read."""
        return int(self._map.tell())


def is_messages(arrow_type: pa.DataType) -> bool:
    """Whether the type is a list of {role, content} or {from, value}."""
    is_list = (
        pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
        or pa.types.is_fixed_size_list(arrow_type)
    )
    if not is_list or not pa.types.is_struct(arrow_type.value_type):
        return False
    fields = {field.name: field.type for field in arrow_type.value_type}
    return any(
        role in fields and content in fields and is_text(fields[role]) and is_text(fields[content])
        for role, content in (("role", "content"), ("from", "value"))
    )


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether values can be read as text: strings, numbers, and dictionary-encoded strings."""
    if pa.types.is_dictionary(arrow_type):
        return is_text(arrow_type.value_type)
    return bool(
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or pa.types.is_string_view(arrow_type)
        or pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_null(arrow_type)
    )


def _columns(schema: pa.Schema) -> dict[str, Column]:
    return {field.name: Column(kind=_kind(field.type), type=str(field.type)) for field in schema}


def _kind(arrow_type: pa.DataType) -> Any:
    if is_messages(arrow_type):
        return "messages"
    return "text" if is_text(arrow_type) else "other"


def _slices(record_batch: pa.RecordBatch, first: int, names: Collection[str]) -> Iterator[Batch]:
    """Split a record batch into batches of limited size."""
    rows = record_batch.num_rows
    wanted = record_batch.select(list(names))
    step = max(1, min(BATCH_ROWS, rows * BATCH_BYTES // max(1, wanted.nbytes)))
    for start in range(0, rows, step):
        piece = wanted.slice(start, step)
        count = piece.num_rows
        numbers = np.arange(first + start + 1, first + start + 1 + count, dtype=np.int64)
        yield Batch(
            numbers=numbers,
            columns={name: piece.column(name) for name in names},
            malformed=np.zeros(count, dtype=np.bool_),
        )


def _check_end(path: Path, magic: bytes, format_name: str) -> None:
    """Raise FormatError unless the file ends with its magic bytes, as both formats do."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _MAGIC_BYTES))
        end = file.read()
    if not end.endswith(magic) or size < 2 * len(magic) + 4:
        raise FormatError(
            f"it begins as {format_name} but is truncated after {size} bytes; upload the file again"
        )
