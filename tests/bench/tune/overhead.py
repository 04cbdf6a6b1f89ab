"""What the training loop adds to forward, backward and optimizer step, where these cost nothing.

    python -m tests.bench.tune.overhead [--steps 300] [--rounds 15]

Two layers of width 32 and packs of 32 tokens: all that is left is Python. The bare loop makes the
same passes over the same batches, with the same loss, clipping and optimizer, and nothing else.
Prints milliseconds a step, and exits with 1 where ours takes over 10 % more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import torch

from steps.tune.evaluate import micro_batch_loss
from steps.tune.load import trained
from tests.bench.tune.contestants import Ours
from tests.bench.tune.rig import (
    LENGTHS,
    save_random_model,
    save_tokenizer,
    tiny_config,
    tiny_plan,
    write_rows,
)

MOST_OVERHEAD = 1.10
_ROW_TOKENS = 32


def main() -> int:
    """Interleave both and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=15)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as name:
        ours = _make(Path(name), flags.steps)
        steps = len(ours.packs)
        ours.train(whole=False)
        _bare(ours)
        pairs = [
            (1e3 * ours.train(whole=False).cpu_seconds / steps, 1e3 * _bare(ours) / steps)
            for _ in range(flags.rounds)
        ]
    ratio = statistics.median(mine / bare for mine, bare in pairs)
    loop, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"training loop: {loop:.2f} ms a step, bare passes: {bare:.2f} ms, "
        f"{100 * (ratio - 1):+.1f} % (CPU time, medians of {flags.rounds} rounds of {steps} steps)"
    )
    return 0 if ratio <= MOST_OVERHEAD else 1


def _make(directory: Path, steps: int) -> Ours:
    config = tiny_config()
    config.update({"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2})
    save_random_model(directory / "model", config, torch.float32)
    tokenizer = save_tokenizer(directory / "model")
    write_rows(directory / "train.parquet", tokenizer, LENGTHS["short"], steps)
    plan = tiny_plan(packs=1)
    settings = msgspec.structs.replace(
        plan.training,
        max_length=_ROW_TOKENS,
        micro_batch_tokens=_ROW_TOKENS,
        gradient_checkpointing=False,
    )
    return Ours(directory, msgspec.structs.replace(plan, training=settings))


def _bare(ours: Ours) -> float:
    """CPU seconds of one epoch of passes and optimizer steps."""
    model, packs = ours.model, ours.packs
    parameters = list(trained(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)
    batches = [packs.micro_batch(index) for index in range(len(packs))]
    began = time.process_time()
    for batch in batches:
        loss = micro_batch_loss(model, batch) / batch.labels
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
