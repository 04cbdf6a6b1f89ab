"""Writes conversations as parquet: the same rows give the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steps.common.fs import replacing
from steps.dataset.messages import ROLES, Conversations

_ROW_GROUP_BYTES = 16 << 20
"""Texts of a row group: what reader and writer hold in memory."""

SCHEMA = pa.schema(
    [
        pa.field(
            "messages",
            pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])),
        )
    ]
)


class RowWriter:
    """One parquet file in the making; rows stay in the order of `add`."""

    def __init__(self, file: pq.ParquetWriter) -> None:
        self._file = file
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, conversations: Conversations, digests: bytes) -> None:
        """Append rows with their digests."""
        self._hash.update(digests)
        self.rows += len(conversations.lengths)
        batch = _record_batch(conversations)
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= _ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added as a row group."""
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, SCHEMA)
        self._file.write_table(table, row_group_size=max(1, table.num_rows))
        self._pending, self._pending_bytes = [], 0

    def digest(self) -> bytes:
        """SHA-256 over the digests of all rows, in order."""
        return self._hash.digest()


@contextlib.contextmanager
def row_writer(path: Path) -> Iterator[RowWriter]:
    """A parquet file that is there, whole, when the block ends well."""
    with replacing(path) as temporary:
        options = {
            "compression": "zstd",
            "compression_level": 1,
            # Texts hardly repeat, and nobody asks for their smallest and largest.
            "use_dictionary": ["messages.list.element.role"],
            "write_statistics": False,
        }
        with pq.ParquetWriter(temporary, SCHEMA, **options) as file:
            writer = RowWriter(file)
            yield writer
            writer.flush()


def _record_batch(conversations: Conversations) -> pa.RecordBatch:
    roles = pa.DictionaryArray.from_arrays(
        pa.array(conversations.roles.astype(np.int8)), pa.array(ROLES)
    ).cast(pa.string())
    contents = conversations.contents.cast(pa.string())
    offsets = pa.array(conversations.starts().astype(np.int32))
    messages = pa.ListArray.from_arrays(
        offsets, pa.StructArray.from_arrays([roles, contents], names=["role", "content"])
    )
    return pa.record_batch([messages], schema=SCHEMA)
