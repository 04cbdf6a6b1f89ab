"""Memory and speed of the dataset step on a large parquet file, beside pyarrow alone.

    python -m tests.bench.dataset --size-gb 2 --rounds 3

Makes a parquet file of realistic rows in a temporary directory. Each round runs, one after the
other and each in a process of its own, pyarrow reading and writing the file batch by batch with
the step's own settings, and the step's processing (read, check, deduplicate, split, write). Prints
peak memory and MB of the file per second, and exits with 1 above 400 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from argotune.steps.contracts.dataset_rows import SCHEMA
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.make import make_dataset
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.dataset.write import WRITE_OPTIONS
from tests.bench.child import measured
from tests.bench.memory import peak_mb
from tests.bench.ratio import median_ratio

MAX_PEAK_MB = 400
_ROWS_OF_A_TABLE = 20_000


def main() -> None:
    """Parse the flags; with `--child`, be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size-gb", type=float, default=2.0, help="size of the file, 10^9 bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-per-group", type=int, default=200_000)
    parser.add_argument("--directory", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        _measure(CHILDREN[flags.child], flags.directory)
        return
    with tempfile.TemporaryDirectory(prefix="bench-dataset-", dir=flags.directory) as name:
        directory = Path(name)
        size = _make_file(directory / "input.parquet", flags.size_gb, flags.rows_per_group)
        peaks_ok = _compare(directory, size, flags.rounds)
    sys.exit(0 if peaks_ok else 1)


def _compare(directory: Path, size: int, rounds: int) -> bool:
    plain, step = [], []
    for number in range(1, rounds + 1):
        plain.append(measured("tests.bench.dataset", "pyarrow", directory))
        step.append(measured("tests.bench.dataset", "step", directory))
        print(
            f"round {number}: pyarrow {_described(plain[-1], size)}; "
            f"step {_described(step[-1], size)}, {step[-1]['rows']:.0f} rows",
            flush=True,
        )
    rate = statistics.median(size / 1e6 / found["seconds"] for found in step)
    peak = max(found["peak_mb"] for found in step)
    ok = peak < MAX_PEAK_MB
    print(
        f"{size / 1e9:.2f} GB: step {rate:.0f} MB/s, "
        f"{_ratio(plain, step, 'seconds'):.2f} of pyarrow's speed by the clock and "
        f"{_ratio(plain, step, 'cpu_seconds'):.2f} by CPU time (medians of {rounds}), "
        f"peak {peak:.0f} MB: {'good' if ok else 'TOO MUCH'}, limit {MAX_PEAK_MB} MB"
    )
    return ok


def _described(found: dict[str, float], size: int) -> str:
    return (
        f"{size / 1e6 / found['seconds']:.0f} MB/s, {found['cpu_seconds']:.1f} CPU s, "
        f"peak {found['peak_mb']:.0f} MB"
    )


def _ratio(plain: list[dict[str, float]], step: list[dict[str, float]], key: str) -> float:
    """By CPU time, busy neighbours on the machine count less."""
    return median_ratio((found[key] for found in plain), (found[key] for found in step))


def _measure(work: Callable[[Path], int], directory: Path) -> None:
    start, cpu_start = time.perf_counter(), time.process_time()
    rows = work(directory)
    found = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "peak_mb": peak_mb(),
        "rows": rows,
    }
    print(json.dumps(found))


def _step(directory: Path) -> int:
    path = directory / "input.parquet"
    # The hash of the file belongs to the download.
    file = DatasetFile(
        url=path.as_uri(), name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64
    )
    data = Data(validation_share=0.05, split_seed=0, max_rejected_share=0.0)
    made = make_dataset(
        [file],
        data,
        directory / "step",
        scratch_dir=directory,
        judge=None,
        on_bytes=lambda done: None,
    )
    return made.train_rows + made.validation_rows


def _pyarrow(directory: Path) -> int:
    file = pq.ParquetFile(directory / "input.parquet", buffer_size=1 << 20, pre_buffer=False)
    rows = 0
    with pq.ParquetWriter(directory / "pyarrow.parquet", SCHEMA, **WRITE_OPTIONS) as writer:
        for batch in file.iter_batches(batch_size=8192, use_threads=False):
            rows += batch.num_rows
            writer.write_batch(batch)
    return rows


CHILDREN: dict[str, Callable[[Path], int]] = {"step": _step, "pyarrow": _pyarrow}


def _make_file(path: Path, size_gb: float, rows_per_group: int) -> int:
    """A parquet file of about this size: questions and answers of real words, none twice."""
    words = words_of_the_library()
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, SCHEMA, compression="snappy") as writer:
        rows = 0
        pending: list[pa.Table] = []
        while path.stat().st_size < size_gb * 1e9:
            pending.append(_table(words, random))
            rows += _ROWS_OF_A_TABLE
            if sum(table.num_rows for table in pending) >= rows_per_group:
                writer.write_table(pa.concat_tables(pending), row_group_size=rows_per_group)
                pending = []
    size = path.stat().st_size
    print(f"{size / 1e9:.2f} GB, {rows} rows, {rows_per_group} rows a group", flush=True)
    return size


def words_of_the_library() -> list[str]:
    """Words in the order and frequency of the standard library's source."""
    text = " ".join(
        path.read_text("latin-1") for path in sorted(Path(statistics.__file__).parent.glob("*.py"))
    )
    return [word for word in text.split() if word.isascii()]


def _table(words: list[str], random: np.random.Generator) -> pa.Table:
    starts = random.integers(0, len(words) - 600, size=(_ROWS_OF_A_TABLE, 2)).tolist()
    lengths = np.clip(random.lognormal(4.2, 0.8, size=(_ROWS_OF_A_TABLE, 2)), 5, 600).astype(int)
    rows = [
        [
            {"role": "user", "content": f"{number} {' '.join(words[a : a + m // 4 + 1])}"},
            {"role": "assistant", "content": " ".join(words[b : b + n])},
        ]
        for number, ((a, b), (m, n)) in enumerate(zip(starts, lengths.tolist(), strict=True))
    ]
    return pa.table([pa.array(rows, SCHEMA.field(0).type)], schema=SCHEMA)


if __name__ == "__main__":
    main()
