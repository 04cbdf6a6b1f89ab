"""What the training loop adds to forward, backward and optimizer step, where these cost nothing.

    python -m tests.bench.tune.overhead [--steps 300] [--rounds 10]

Two layers of width 32 and packs of 32 tokens: all that is left is Python. A bare step makes the
same passes over the same batches, with the same loss, clipping and optimizer, and nothing else.
The loop makes one after each of its own: a neighbour on the machine, who slows it for seconds,
slows both. Prints milliseconds a step, and exits with 1 where ours takes over 10 % more.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch

from argotune.steps.common.progress import Progress
from argotune.steps.tune.evaluate import micro_batch_loss
from argotune.steps.tune.load import trainable_parameters
from tests.bench.ratio import median_ratio
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
_BLOCK_STEPS = 20


def main() -> int:
    """Interleave both and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as name:
        ours = _make(Path(name), flags.steps)
        ours.train(whole=False)  # warm up
        blocks = [block for _ in range(flags.rounds) for block in _blocks(ours)]
    loop, bare = zip(*blocks, strict=True)
    ratio = median_ratio(loop, bare)
    print(
        f"training loop: {1e3 * statistics.median(loop):.2f} ms a step, "
        f"bare passes: {1e3 * statistics.median(bare):.2f} ms, "
        f"{100 * (ratio - 1):+.1f} % "
        f"(CPU time, medians of {len(blocks)} blocks of {_BLOCK_STEPS} steps)"
    )
    return 0 if ratio <= MOST_OVERHEAD else 1


def _blocks(ours: Ours) -> list[tuple[float, float]]:
    """CPU seconds of a step of the loop and of a bare one, means over blocks of an epoch."""
    steps = _Alternating(_bare_steps(ours))
    ours.train(whole=False, progress=steps)
    # What comes before the first step and after the last one belongs to the run, not to a step.
    pairs = steps.pairs[1:-1]
    blocks = [
        pairs[first : first + _BLOCK_STEPS]
        for first in range(0, len(pairs) - _BLOCK_STEPS + 1, _BLOCK_STEPS)
    ]
    return [
        (statistics.fmean(loop for loop, _ in block), statistics.fmean(bare for _, bare in block))
        for block in blocks
    ]


class _Alternating(Progress):
    """Makes a bare step where the loop reports one of its own, and notes what each took."""

    def __init__(self, bare_steps: Iterator[None]) -> None:
        super().__init__()
        self.pairs: list[tuple[float, float]] = []
        self._bare_steps = bare_steps
        self._began = time.process_time()

    def update(self, done: int, total: int) -> None:
        ended = time.process_time()
        next(self._bare_steps)
        self.pairs.append((ended - self._began, time.process_time() - ended))
        self._began = time.process_time()


def _bare_steps(ours: Ours) -> Iterator[None]:
    """Passes and optimizer steps without end, over batches that lie ready."""
    model, packs = ours.model, ours.packs
    parameters = list(trainable_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)
    batches = [packs.micro_batch(index) for index in range(len(packs))]
    for batch in itertools.cycle(batches):
        loss = micro_batch_loss(model, batch) / batch.labels
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        yield


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


if __name__ == "__main__":
    sys.exit(main())
