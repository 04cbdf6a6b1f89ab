"""Write conversations as parquet files; equal rows give equal bytes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from argotune.steps.common.fs import replacing
from argotune.steps.contracts.dataset_rows import FIELDS, ROLES, SCHEMA
from argotune.steps.contracts.row_origins import SCHEMA as ORIGINS
from argotune.steps.contracts.row_origins import origins_file
from argotune.steps.dataset.conversations import Conversations

_ROW_GROUP_BYTES = 8 << 20
"""Size of a row group's texts, which reader and writer hold in memory."""

WRITE_OPTIONS: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    # Texts rarely repeat, unlike tools, and no reader uses their minimum and maximum.
    "use_dictionary": ["messages.list.element.role", "tools"],
    "write_statistics": False,
}


class RowWriter:
    """Writer of one parquet file and of its rows' origins; rows are in the order of `add`."""

    def __init__(
        self, file: pq.ParquetWriter, origins: pq.ParquetWriter, thread: ThreadPoolExecutor
    ) -> None:
        self._file = file
        self._origins = origins
        self._thread = thread
        self._writing: Future[None] | None = None
        self._pending: list[pa.RecordBatch] = []
        self._pending_origins: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(
        self,
        conversations: Conversations,
        digests: bytes,
        *,
        url: str,
        numbers: npt.NDArray[np.int64],
    ) -> None:
        """Append rows of the file with this URL; `digests` has 32 bytes per row."""
        self._hash.update(digests)
        self.rows += len(conversations.lengths)
        batch = record_batch(conversations)
        self._pending.append(batch)
        self._pending_origins.append(_origins(url, numbers))
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        """Write the remaining rows and wait until they are written."""
        if self._pending:
            self._flush()
        self._wait()

    def _flush(self) -> None:
        """Write the added rows as a row group, while the next rows are read."""
        table = pa.Table.from_batches(self._pending, SCHEMA)
        self._origins.write_table(
            pa.Table.from_batches(self._pending_origins, ORIGINS).unify_dictionaries()
        )
        self._pending, self._pending_origins, self._pending_bytes = [], [], 0
        self._wait()
        self._writing = self._thread.submit(
            self._file.write_table, table, row_group_size=table.num_rows
        )

    def _wait(self) -> None:
        """Wait for the row group that is being written; raises its error."""
        if self._writing is not None:
            self._writing.result()
        self._writing = None

    def digest(self) -> bytes:
        """SHA-256 over the digests of all rows, in order, 32 bytes."""
        return self._hash.digest()


@contextlib.contextmanager
def row_writer(path: Path) -> Iterator[RowWriter]:
    """Yield a writer whose files appear under their names only if the block succeeds."""
    with (
        replacing(path) as temporary,
        replacing(origins_file(path)) as of_origins,
        pq.ParquetWriter(temporary, SCHEMA, **WRITE_OPTIONS) as file,
        pq.ParquetWriter(
            of_origins, ORIGINS, compression="zstd", write_statistics=False
        ) as origins,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        writer = RowWriter(file, origins, thread)
        yield writer
        writer.finish()


def _origins(url: str, numbers: npt.NDArray[np.int64]) -> pa.RecordBatch:
    files = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(numbers), dtype=np.int32)), pa.array([url])
    )
    return pa.record_batch([files, pa.array(numbers)], schema=ORIGINS)


def record_batch(conversations: Conversations) -> pa.RecordBatch:
    """The rows in the schema of the files."""
    roles = pa.DictionaryArray.from_arrays(
        pa.array(conversations.roles.astype(np.int8)), pa.array(ROLES)
    ).cast(pa.string())
    offsets = pa.array(conversations.starts().astype(np.int32))
    kind = SCHEMA.field("messages").type.value_type
    values = {
        "role": roles,
        "content": conversations.contents,
        "learned": pa.array(conversations.learned),
        **{name: pa.nulls(len(roles), pa.string()) for name in FIELDS},
        **conversations.fields,
    }
    messages = pa.ListArray.from_arrays(
        offsets,
        pa.StructArray.from_arrays(
            [values[field.name].cast(field.type) for field in kind], fields=list(kind)
        ),
    )
    tools = pa.nulls(len(messages)) if conversations.tools is None else conversations.tools
    return pa.record_batch([messages, tools.cast(pa.string())], schema=SCHEMA)
