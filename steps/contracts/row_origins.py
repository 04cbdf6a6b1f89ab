"""Where the rows of a split come from, in a file beside it: the user's file, and the row there.

The dataset step writes it for messages alone: a row that only tune finds to be unusable is named as
in the user's own data, and not by its number among those that were kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        # URL of the file, without query.
        pa.field("file", pa.dictionary(pa.int32(), pa.string())),
        # From 1, as in rejected.jsonl.
        pa.field("row", pa.int64()),
    ]
)


def origins_file(split: Path) -> Path:
    """Return the path of the file for train.parquet or validation.parquet."""
    return split.with_suffix(".origins.parquet")


def places_of(split: Path, numbers: Sequence[int]) -> list[str]:
    """Name rows of the split, whose numbers are from 1 and ascend: `data.jsonl row 7`.

    Without the file, as in a dataset of an earlier version, they are `row N` of the split.
    """
    path = origins_file(split)
    if not path.is_file():
        return [f"row {number} of {split.name}" for number in numbers]
    found, first = [], 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            wanted = [n - 1 - first for n in numbers if first < n <= first + rows]
            if wanted:
                found += file.read_row_group(group).take(wanted).to_pylist()
            first += rows
    return [f"{each['file'].rpartition('/')[2]} row {each['row']}" for each in found]
