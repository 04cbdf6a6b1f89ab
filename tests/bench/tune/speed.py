"""Our training loop beside TRL's and Kaito's on the same work: real tokens per second, memory.

    python -m tests.bench.tune.speed [--lengths short mixed long] [--rounds 5] [--threads 2]

A Phi-3 of four layers (H 256, I 512, V 8064, float32, random), LoRA of rank 16 on all linear
layers, packs of 2048 tokens, activations recomputed. Every contestant is a process of its own that
stays ready; each round has all of them go over the same rows once, one after the other. Before any
time is taken, loss and gradients of one step over all rows must be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch

from argotune.steps.contracts.training_plan import write_plan
from tests.bench.ratio import median_ratio
from tests.bench.tune.contestants import all_tokens_packed
from tests.bench.tune.rig import (
    LENGTHS,
    save_random_model,
    save_tokenizer,
    tiny_config,
    tiny_plan,
    write_rows,
)
from tests.bench.tune.worker import OURS, Measured, Worker, started

RIVALS = ("kaito", "trl-batch-1", "trl-padded", "trl-grouped", "trl-packing")
GOALS = {"kaito": 1.7, "trl-batch-1": 1.7, "trl-packing": 2.5}
"""How many times as fast as these ours has to be, on rows of mixed lengths."""

TOLERANCE = 1e-4
"""Largest difference of loss and gradients, relative to their size; float32 sums in another order
differ by some 1e-6."""

Rounds = Mapping[str, Sequence[Measured]]
Gradients = tuple[float, torch.Tensor]


def main() -> int:
    """Print a table for each distribution of lengths; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    good = [_compare(name, flags.rivals, flags.rounds, flags.threads) for name in flags.lengths]
    return 0 if all(good) else 1


def _compare(lengths: str, rivals: Sequence[str], rounds: int, threads: int) -> bool:
    names = [OURS, *rivals]
    with (
        tempfile.TemporaryDirectory(prefix="bench-tune-") as place,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(place)
        tokens = _make_rig(directory, lengths)
        workers = [
            stack.enter_context(started(name, directory, lengths, threads)) for name in names
        ]
        check_gradients({worker.name: gradients_of(worker, directory) for worker in workers})
        for worker in workers:
            worker.round()  # warm up
        found: dict[str, list[Measured]] = {name: [] for name in names}
        for _ in range(rounds):
            for worker in workers:
                found[worker.name].append(worker.round())
    print(f"\n{lengths} rows: {LENGTHS[lengths].rows} of {LENGTHS[lengths].mean_tokens} tokens")
    print_table(found, tokens)
    return lengths != "mixed" or _reached(found)


def _make_rig(directory: Path, lengths: str) -> int:
    """Model, tokenizer, rows and plan; returns the tokens of a round."""
    save_random_model(directory / "model", tiny_config(), torch.float32)
    tokenizer = save_tokenizer(directory / "model")
    write_rows(directory / "train.parquet", tokenizer, LENGTHS[lengths], LENGTHS[lengths].rows)
    packs = all_tokens_packed(directory, tiny_plan(packs=1))
    write_plan(directory / "plan.yaml", tiny_plan(len(packs)))
    return packs.tokens


def gradients_of(worker: Worker, directory: Path) -> Gradients:
    """Loss and gradients of one step over all rows."""
    file = directory / worker.name / "gradients.safetensors"
    loss = worker.gradients(file).loss
    found = safetensors.torch.load_file(file)
    return loss, torch.cat([found[name].flatten() for name in sorted(found)])


def check_gradients(found: Mapping[str, Gradients], tolerance: float = TOLERANCE) -> None:
    """Refuse to measure contestants that do not compute the same."""
    our_loss, ours = found[OURS]
    for name, (loss, theirs) in found.items():
        apart = float((theirs - ours).norm() / ours.norm()) if len(theirs) == len(ours) else 1.0
        if not max(apart, abs(loss / our_loss - 1)) < tolerance:
            raise SystemExit(
                f"{name} does not compute what {OURS} does: loss {loss:.6f} and {our_loss:.6f}, "
                f"gradients {apart:.1e} apart"
            )
        print(f"{name}: loss {loss:.6f}, gradients {apart:.0e} from ours", flush=True)


def print_table(found: Rounds, tokens: int) -> None:
    """Medians and ranges, and the median over the rounds of how many times as fast ours is."""
    print(
        f"{'':16} {'tokens/s':>20} {'per CPU second':>15} {'peak MB':>8} "
        f"{'ours is':>8} {'by CPU time':>12}"
    )
    for name, rounds in found.items():
        speeds = sorted(tokens / taken.seconds for taken in rounds)
        per_cpu = statistics.median(tokens / taken.cpu_seconds for taken in rounds)
        spread = f"{statistics.median(speeds):.0f} ({speeds[0]:.0f}-{speeds[-1]:.0f})"
        print(
            f"{name:16} {spread:>20} {per_cpu:15.0f} {peak(rounds):8.0f} "
            f"{times_as_fast(found, name):7.2f}x {times_as_fast(found, name, 'cpu_seconds'):11.2f}x"
        )


def times_as_fast(found: Rounds, rival: str, clock: str = "seconds") -> float:
    """Median over the rounds, by the clock or by CPU time."""
    return median_ratio(
        (getattr(taken, clock) for taken in found[rival]),
        (getattr(taken, clock) for taken in found[OURS]),
    )


def peak(rounds: Sequence[Measured]) -> float:
    """MB."""
    return max(taken.peak_mb for taken in rounds)


def _reached(found: Rounds) -> bool:
    missed = [
        f"{times_as_fast(found, name):.2f} times {name}, not {goal}"
        for name, goal in GOALS.items()
        if name in found and times_as_fast(found, name) < goal
    ]
    missed += [
        f"{peak(found[OURS]):.0f} MB, more than {name}"
        for name in GOALS
        if name in found and peak(found[OURS]) > peak(found[name])
    ]
    print(f"goals missed: {'; '.join(missed)}" if missed else "goals reached")
    return not missed


if __name__ == "__main__":
    sys.exit(main())
