"""Size of Arrow values as plain text, which buffers of a few bytes can stand for.

A dictionary-encoded column has each distinct value once, however many rows refer to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Sizes = npt.NDArray[np.int64]

_VALUE_BYTES = 16
"""About what a value takes in memory beside its text; also a null, of which files hold millions in
no bytes."""


def row_sizes(columns: pa.RecordBatch) -> Sizes:
    """Bytes of each of the n rows with every dictionary written out, shape (n,)."""
    sizes = np.zeros(columns.num_rows, dtype=np.int64)
    for column in columns.columns:
        sizes += value_sizes(column)
    return sizes


def value_sizes(values: pa.Array) -> Sizes:
    """Bytes of each value with every dictionary written out."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        known = np.append(value_sizes(values.dictionary), _VALUE_BYTES)
        indices = pc.fill_null(pc.cast(values.indices, pa.int64()), -1)
        return known.take(np.asarray(indices))
    if pa.types.is_string_view(kind):
        # Views may share their text, as the values of a dictionary do.
        return _VALUE_BYTES + np.asarray(_view_lengths(values))
    if _is_text(kind):
        lengths = pc.fill_null(pc.binary_length(values), 0)
        return _VALUE_BYTES + np.asarray(lengths).astype(np.int64)
    if pa.types.is_struct(kind):
        sizes = np.full(len(values), _VALUE_BYTES, dtype=np.int64)
        for field in values.flatten():
            sizes += value_sizes(field)
        return sizes
    if _is_list(kind):
        return _VALUE_BYTES + _sums(value_sizes(pc.list_flatten(values)), _lengths(values))
    return np.full(len(values), _VALUE_BYTES, dtype=np.int64)


def _sums(sizes: Sizes, lengths: Sizes) -> Sizes:
    """The sum of each list's sizes, which stand one list after the other."""
    until = np.concatenate(([0], np.cumsum(sizes)))
    ends = np.cumsum(lengths)
    return np.asarray(until[ends] - until[ends - lengths])


def _lengths(values: pa.Array) -> Sizes:
    return np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)


def _view_lengths(values: pa.Array) -> Sizes:
    """Bytes of string views: the first four of the sixteen that each view takes."""
    views = np.frombuffer(values.buffers()[1], dtype=np.int32).reshape(-1, 4)
    lengths = views[values.offset : values.offset + len(values), 0].astype(np.int64)
    valid = np.asarray(values.is_valid())
    return np.where(valid, lengths, 0)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
