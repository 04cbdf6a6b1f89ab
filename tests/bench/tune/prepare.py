"""From the dataset step's file to packs: our preparation beside TRL's, tokens per second.

    python -m tests.bench.tune.prepare [--rows 20000] [--rounds 3]

Template, tokens, labels of the assistant's turns, packs of 2048, written to a file and read back.
Each measurement is a process of its own, with as many processes (TRL) or threads (ours) as there
are cores; starting and importing are not counted. Beside them the tokenizer alone, on the texts
that the template made: what any preparation with it takes at the least. Exits with 1 below 750 000
tokens/s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.child import Found, measured
from tests.bench.memory import peak_mb
from tests.bench.ratio import median_ratio
from tests.bench.tune.rig import (
    LENGTHS,
    PACK_TOKENS,
    PAD_TOKEN,
    VOCABULARY,
    save_tokenizer,
    tiny_plan,
    write_rows,
)

LEAST_TOKENS_PER_SECOND = 750_000


def main() -> int:
    """Parse the flags; with `--child`, be one of the measured processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-rival", action="store_true", help="measure ours only")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(CHILDREN[flags.child](flags.directory)))
        return 0
    names = ["argotune"] if flags.without_rival else list(CHILDREN)
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as place:
        directory = Path(place)
        tokenizer = save_tokenizer(directory / "model")
        write_rows(directory / "train.parquet", tokenizer, LENGTHS["mixed"], flags.rows)
        found: dict[str, list[Found]] = {name: [] for name in names}
        for _ in range(flags.rounds):
            for name in names:
                found[name].append(_run(name, directory))
    for name, rounds in found.items():
        speeds = sorted(each["tokens"] / each["seconds"] for each in rounds)
        print(
            f"{name:9} {_median_speed(rounds):8.0f} tokens/s ({speeds[0]:.0f}-{speeds[-1]:.0f})"
            f", {rounds[0]['tokens']:.0f} tokens, peak {max(e['peak_mb'] for e in rounds):.0f} MB, "
            f"ours is {_times_as_fast(found, name):.2f}x"
        )
    reached = _median_speed(found["argotune"]) >= LEAST_TOKENS_PER_SECOND
    print(f"goal of {LEAST_TOKENS_PER_SECOND} tokens/s {'reached' if reached else 'missed'}")
    return 0 if reached else 1


def _median_speed(rounds: Sequence[Found]) -> float:
    return statistics.median(each["tokens"] / each["seconds"] for each in rounds)


def _times_as_fast(found: Mapping[str, Sequence[Found]], name: str) -> float:
    return median_ratio(
        (each["seconds"] for each in found[name]),
        (each["seconds"] for each in found["argotune"]),
    )


def _run(name: str, directory: Path) -> Found:
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(directory / "hf")}
    return measured("tests.bench.tune.prepare", name, directory, environment)


def _ours(directory: Path) -> Found:
    # In the measured process only, as TRL: the parent needs neither.
    from transformers import AutoTokenizer

    from argotune.steps.tokens.template import chat_template
    from argotune.steps.tune.prepare import prepare

    tokenizer = AutoTokenizer.from_pretrained(directory / "model", local_files_only=True)
    began = time.perf_counter()
    template = chat_template(tokenizer, directory / "model")
    with tempfile.TemporaryDirectory(dir=directory) as name:
        packs, _ = prepare(
            directory / "train.parquet",
            Path(name) / "train.arrow",
            template,
            tokenizer,
            tiny_plan(packs=1).training,
        )
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": packs.tokens, "peak_mb": peak_mb()}


def _tokenizer(directory: Path) -> Found:
    import pyarrow.parquet
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory / "model", local_files_only=True)
    rows = pyarrow.parquet.read_table(directory / "train.parquet").column("messages").to_pylist()
    texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in rows]
    began, tokens = time.perf_counter(), 0
    for start in range(0, len(texts), 512):
        encodings = tokenizer.backend_tokenizer.encode_batch(texts[start : start + 512])
        tokens += sum(map(len, encodings))
    return {"seconds": time.perf_counter() - began, "tokens": tokens, "peak_mb": peak_mb()}


def _trl(directory: Path) -> Found:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, Phi3Config
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(directory / "model", local_files_only=True)
    shape: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        Phi3Config(**shape, num_attention_heads=1, vocab_size=VOCABULARY, pad_token_id=PAD_TOKEN)
    )
    with tempfile.TemporaryDirectory(dir=directory) as name:
        began = time.perf_counter()
        dataset = Dataset.from_parquet(str(directory / "train.parquet"), cache_dir=name)
        arguments = SFTConfig(
            output_dir=name,
            assistant_only_loss=True,
            max_length=PACK_TOKENS,
            packing=True,
            packing_strategy="bfd",
            dataset_num_proc=os.cpu_count(),
            bf16=False,
            use_cpu=True,
            report_to="none",
        )
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer
        )
        seconds = time.perf_counter() - began
        tokens = sum(sum(row) for row in trainer.train_dataset["seq_lengths"])
    return {"seconds": seconds, "tokens": tokens, "peak_mb": peak_mb()}


CHILDREN: dict[str, Callable[[Path], Found]] = {
    "argotune": _ours,
    "trl": _trl,
    "tokenizer": _tokenizer,
}


if __name__ == "__main__":
    sys.exit(main())
