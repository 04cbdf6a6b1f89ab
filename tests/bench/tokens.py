"""The dataset step with the model's tokenizer: seconds and memory for 100,000 rows of 200 tokens.

    python -m tests.bench.tokens [--rows 100000] [--rounds 1]

Read, check, tokenise, count, deduplicate, split and write, in a process without torch, as in the
step's image. Beside it transformers alone makes ids and labels of the same rows, one by one as TRL
maps them (`apply_chat_template` with `return_assistant_tokens_mask`). Each measurement is a process
of its own and counts its start; both count the same tokens. Exits with 1 above 60 s or 600 MB.
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

import msgspec

from tests.bench.child import Found, measured
from tests.bench.memory import peak_mb
from tests.bench.ratio import median_ratio

MAX_SECONDS, MAX_PEAK_MB = 60.0, 600.0
_MEAN_TOKENS = 200
_MAX_LENGTH = 1 << 20
"""So that no row is cut, nor refused because nothing of it is left."""


def main() -> int:
    """Parse the flags; with `--child`, be one of the measured processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--without-rival", action="store_true", help="measure ours only")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(CHILDREN[flags.child](flags.directory)))
        return 0
    names = ["step"] if flags.without_rival else list(CHILDREN)
    found: dict[str, list[Found]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="bench-tokens-") as place:
        _make_input(Path(place), flags.rows)
        for _ in range(flags.rounds):
            for name in names:
                found[name].append(measured("tests.bench.tokens", name, Path(place)))
    return 0 if _report(found) else 1


def _make_input(directory: Path, rows: int) -> None:
    # Not above, because it imports torch, which the measured processes do without.
    import pyarrow.parquet as pq

    from argotune.steps.contracts.dataset_rows import read_batch
    from argotune.steps.contracts.model_cache import mark_complete
    from tests.bench.tune.rig import Lengths, save_tokenizer, tiny_config, write_rows

    tokenizer = save_tokenizer(directory / "tokenizer")
    tiny_config().save_pretrained(directory / "tokenizer")
    mark_complete(directory / "tokenizer")
    lengths = Lengths(mean_tokens=_MEAN_TOKENS, rows=rows)
    write_rows(directory / "rows.parquet", tokenizer, lengths, rows)
    with (
        pq.ParquetFile(directory / "rows.parquet") as file,
        (directory / "input.jsonl").open("w") as lines,
    ):
        for batch in file.iter_batches(1000):
            for row in read_batch(batch):
                line = json.dumps({"messages": row.messages})
                # The rival makes other tokens of control tokens in texts, and takes blank texts.
                is_blank = any(not each["content"].strip() for each in row.messages)
                if "<|" not in line and not is_blank:
                    lines.write(line + "\n")


def _report(found: dict[str, list[Found]]) -> bool:
    for name, rounds in found.items():
        last = rounds[-1]
        print(
            f"{name:12} {_median(rounds, 'seconds'):.1f} s, {_median(rounds, 'cpu_seconds'):.1f}"
            f" CPU s, peak {max(each['peak_mb'] for each in rounds):.0f} MB,"
            f" {last['rows']:.0f} rows, {last['tokens']:.0f} tokens"
        )
    step = found["step"]
    if "transformers" in found:
        rival = found["transformers"]
        if rival[0]["tokens"] != step[0]["tokens"]:
            raise SystemExit("the two count different tokens")
        ratio = median_ratio(
            (each["cpu_seconds"] for each in rival), (each["cpu_seconds"] for each in step)
        )
        print(f"transformers alone takes {ratio:.2f} times the CPU time of the whole step")
    good = (
        _median(step, "seconds") < MAX_SECONDS
        and max(each["peak_mb"] for each in step) < MAX_PEAK_MB
    )
    print(f"limits of {MAX_SECONDS:g} s and {MAX_PEAK_MB:g} MB: {'kept' if good else 'EXCEEDED'}")
    return good


def _median(rounds: list[Found], key: str) -> float:
    return statistics.median(each[key] for each in rounds)


def _step(directory: Path) -> tuple[int, int]:
    from argotune.steps.tokens import leave_torch_out

    leave_torch_out()
    from argotune.steps.dataset.judge import Judge
    from argotune.steps.dataset.make import make_dataset
    from argotune.steps.dataset.target import DatasetFile
    from tests.fakes.plans import small_plan

    plan = small_plan()
    training = msgspec.structs.replace(
        plan.training, max_length=_MAX_LENGTH, max_truncated_share=1.0
    )
    plan = msgspec.structs.replace(plan, training=training)
    path = directory / "input.jsonl"
    file = DatasetFile(
        url=path.as_uri(), name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64
    )
    with tempfile.TemporaryDirectory(dir=directory) as name:
        made = make_dataset(
            [file],
            plan.data,
            Path(name),
            scratch_dir=directory,
            judge=Judge(directory / "tokenizer", plan),
            on_bytes=lambda done: None,
        )
    assert made.train_tokens is not None
    assert made.validation_tokens is not None
    return made.train_rows + made.validation_rows, (
        made.train_tokens.tokens + made.validation_tokens.tokens
    )


def _transformers(directory: Path) -> tuple[int, int]:
    from argotune.steps.tokens import leave_torch_out

    leave_torch_out()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory / "tokenizer", local_files_only=True)
    seen: set[str] = set()
    tokens = 0
    with (directory / "input.jsonl").open() as file:
        for line in file:
            if line in seen:
                continue
            seen.add(line)
            found = tokenizer.apply_chat_template(
                json.loads(line)["messages"], return_dict=True, return_assistant_tokens_mask=True
            )
            tokens += len(found["input_ids"])
    return len(seen), tokens


def _measure(work: Callable[[Path], tuple[int, int]]) -> Callable[[Path], Found]:
    def measure(directory: Path) -> Found:
        began = time.perf_counter()
        rows, tokens = work(directory)
        return {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time(),
            "peak_mb": peak_mb(),
            "rows": rows,
            "tokens": tokens,
        }

    return measure


CHILDREN: dict[str, Callable[[Path], Found]] = {
    "step": _measure(_step),
    "transformers": _measure(_transformers),
}


if __name__ == "__main__":
    sys.exit(main())
