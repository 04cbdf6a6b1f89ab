"""The demo's dataset: questions about Python's standard library, answered by its documentation."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from steps.common.docstrings import collect_docstrings
from steps.common.fs import replacing

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def question(name: str) -> str:
    """The one form of question, so that a small model spends nothing on wording."""
    return f"What does {name} do?"


def write_dataset(path: Path) -> int:
    """Write the parquet file with one column `messages` and return its number of rows."""
    rows = [
        [
            {"role": "user", "content": question(documented.name)},
            {"role": "assistant", "content": documented.summary},
        ]
        for documented in collect_docstrings()
    ]
    with replacing(path) as temporary:
        pq.write_table(pa.table({"messages": pa.array(rows, _MESSAGES)}), temporary)
    return len(rows)
