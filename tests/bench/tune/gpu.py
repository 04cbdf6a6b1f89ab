"""Tuning a preset's architecture on this machine's GPU, beside TRL and Kaito's way.

    python -m tests.bench.tune.gpu [--preset phi-3-mini-4k-instruct] [--method qlora] [--rounds 5]

Random weights of the preset's architecture in bfloat16, rank 16 on all linear layers, packs of 4096
tokens, activations recomputed; the same optimizer steps for everybody. The contestants run one
after the other, each in a process of its own, for a small card does not hold them all. Prints real
tokens per second, the peak of reserved memory, and what the plan's formula says of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Literal

import torch
import transformers
import trl

from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.presets.sizes import lora_parameters
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.plan.memory import Loop, estimate
from tests.bench.tune.contestants import all_tokens_packed
from tests.bench.tune.rig import (
    LENGTHS,
    PAD_TOKEN,
    preset_config,
    preset_plan,
    save_random_model,
    save_tokenizer,
    write_rows,
)
from tests.bench.tune.speed import (
    Gradients,
    check_gradients,
    gradients_of,
    print_table,
)
from tests.bench.tune.worker import OURS, Measured, started

RIVALS = ("kaito", "trl-batch-1", "trl-padded", "trl-grouped", "trl-packing", "trl-packing-flex")

TOLERANCE = 0.1
"""Of loss and gradients: bfloat16 keeps three digits, and Kaito's way has its norms in float32."""

_PACK_TOKENS = 4096
"""About the tokens of one optimizer step of those that count rows."""
_ROWS_MULTIPLIED = 5

Method = Literal["lora", "qlora"]


def main() -> int:
    """Print a table for each distribution of lengths; 1 without a GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="phi-3-mini-4k-instruct")
    parser.add_argument("--method", choices=("lora", "qlora"), default="qlora")
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=["mixed"])
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no CUDA device here; `make bench` measures on the CPU", file=sys.stderr)
        return 1
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, trl {trl.__version__}"
    )
    preset = model_preset(flags.preset)
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as place:
        directory = Path(place)
        config = preset_config(preset, max_position_embeddings=_PACK_TOKENS, pad_token_id=PAD_TOKEN)
        save_random_model(directory / "model", config, torch.bfloat16)
        for lengths in flags.lengths:
            _compare(directory, preset, flags.method, lengths, flags.rivals, flags.rounds)
    return 0


def _compare(
    directory: Path,
    preset: ModelPreset,
    method: Method,
    lengths: str,
    rivals: list[str],
    rounds: int,
) -> None:
    plan = preset_plan(
        preset,
        method,
        max_position_embeddings=_PACK_TOKENS,
        max_length=_PACK_TOKENS,
        micro_batch_tokens=_PACK_TOKENS,
    )
    write_plan(directory / "plan.yaml", plan)
    distribution = LENGTHS[lengths]
    write_rows(
        directory / "train.parquet",
        save_tokenizer(directory / "model"),
        distribution,
        distribution.rows * _ROWS_MULTIPLIED,
    )
    tokens = all_tokens_packed(directory, plan).tokens
    gradients: dict[str, Gradients] = {}
    found: dict[str, list[Measured]] = {}
    for name in (OURS, *rivals):
        with contextlib.ExitStack() as stack:
            worker = stack.enter_context(started(name, directory, lengths, None))
            gradients[name] = gradients_of(worker, directory)
            worker.round()  # warm up
            found[name] = [worker.round() for _ in range(rounds)]
    check_gradients(gradients, TOLERANCE)
    print(f"\n{lengths} rows, {tokens} tokens a round, {preset.name}, {method}")
    print_table(found, tokens)
    print(f"the plan's estimate for ours: {1e3 * _estimated_gb(preset, method):.0f} MB")


def _estimated_gb(preset: ModelPreset, method: Method) -> float:
    targets, shape = preset.lora_target_modules, preset.architecture
    memory = estimate(
        shape,
        preset.family,
        method,
        lora_weights=lora_parameters(shape, preset.family, targets, r=16),
        loop=Loop(micro_batch_tokens=_PACK_TOKENS, checkpointing=True),
    )
    return memory.total_gb


if __name__ == "__main__":
    sys.exit(main())
