"""Arrow IPC files and Arrow IPC streams."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from argotune.steps.dataset.decoded_size import Sizes, row_sizes
from argotune.steps.dataset.source import (
    BATCH_BYTES,
    BATCH_ROWS,
    MAX_ROW_BYTES,
    Batch,
    Column,
    Expansion,
    FormatError,
    Kind,
)

_MAGIC_BYTES = 8


class ArrowFileSource:
    """An Arrow IPC file, also known as Feather version 2."""

    def __init__(self, path: Path) -> None:
        check_end(path, b"ARROW1", "arrow")
        self._size = path.stat().st_size
        # A file may have one record batch of many GB; with mmap only the current slice is loaded.
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._count = int(self._reader.num_record_batches)
        self._batches_read = 0

    def columns(self) -> Mapping[str, Column]:
        """The columns of the schema."""
        return columns_of(self._reader.schema)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        slices = Slices(self._size)
        for index in range(self._count):
            yield from slices.of(self._reader.get_batch(index), names)
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
        return columns_of(self._reader.schema)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        slices = Slices(self._map.size())
        for record_batch in self._reader:
            yield from slices.of(record_batch, names)

    def position(self) -> int:
        """Bytes read."""
        return int(self._map.tell())


def is_messages(arrow_type: pa.DataType) -> bool:
    """Whether the type is a list of {role, content} or {from, value}; content may have parts."""
    if not _is_list(arrow_type) or not pa.types.is_struct(arrow_type.value_type):
        return False
    fields = {field.name: field.type for field in arrow_type.value_type}
    return any(
        role in fields
        and content in fields
        and is_text(fields[role])
        and (is_text(fields[content]) or _is_list(fields[content]))
        for role, content in (("role", "content"), ("from", "value"))
    )


def _is_list(arrow_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
        or pa.types.is_fixed_size_list(arrow_type)
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


def columns_of(schema: pa.Schema) -> dict[str, Column]:
    """The columns of a schema by their names. Raises FormatError if two have the same."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise FormatError(f"the schema names a column twice: {', '.join(twice)}")
    return {field.name: Column(kind=_kind(field.type), type=str(field.type)) for field in schema}


def _kind(arrow_type: pa.DataType) -> Kind:
    if is_messages(arrow_type):
        return "messages"
    if _is_list(arrow_type):
        return "list"
    return "text" if is_text(arrow_type) else "other"


class Slices:
    """Cuts record batches of one file into batches of limited size, and counts their rows."""

    def __init__(self, size: int) -> None:
        """`size` is the file's, bytes."""
        self.rows = 0
        self._expansion = Expansion(size)

    def of(self, record_batch: pa.RecordBatch, names: Collection[str]) -> Iterator[Batch]:
        """Yield its rows with these columns. Raises FormatError for a decompression bomb."""
        wanted = record_batch.select(list(names))
        # Readers take offsets, which may lead out of their buffers, and texts as they are.
        wanted.validate(full=True)
        for start in range(0, wanted.num_rows, BATCH_ROWS):
            part = wanted.slice(start, BATCH_ROWS)
            sizes = row_sizes(part)
            self._expansion.add(int(sizes.sum()))
            for first, last in _cuts(sizes):
                yield self._batch(part.slice(first, last - first), sizes[first] > MAX_ROW_BYTES)

    def _batch(self, rows: pa.RecordBatch, too_long: bool) -> Batch:
        count = rows.num_rows
        columns = {
            name: pa.nulls(count, column.type) if too_long else column
            for name, column in zip(rows.schema.names, rows.columns, strict=True)
        }
        numbers = np.arange(self.rows + 1, self.rows + 1 + count, dtype=np.int64)
        self.rows += count
        return Batch(
            numbers=numbers,
            columns=columns,
            malformed=np.zeros(count, dtype=np.bool_),
            too_long=np.full(count, too_long),
        )


def _cuts(sizes: Sizes) -> Iterator[tuple[int, int]]:
    """First row and end of each batch; a row of over MAX_ROW_BYTES is one by itself."""
    until, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = until[first] - sizes[first]
        last = int(np.searchsorted(until, before + BATCH_BYTES, side="right"))
        yield first, (first := max(first + 1, last))


def check_end(path: Path, magic: bytes, format_name: str) -> None:
    """Raise FormatError unless the file ends with its magic bytes, as both formats do."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _MAGIC_BYTES))
        end = file.read()
    if not end.endswith(magic) or size < 2 * len(magic) + 4:
        raise FormatError(
            f"it begins as {format_name} but is truncated after {size} bytes; upload the file again"
        )
