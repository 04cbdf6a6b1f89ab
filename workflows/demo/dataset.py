"""The demo's dataset: questions about Python's standard library, answered by its documentation."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from argotune.steps.common.fs import replacing
from argotune.steps.tiny.docstrings import conversations

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def write_dataset(path: Path) -> int:
    """Write a parquet file with one column `messages`, and return its number of rows."""
    rows = conversations()
    with replacing(path) as temporary:
        pq.write_table(pa.table({"messages": pa.array(rows, _MESSAGES)}), temporary)
    return len(rows)
