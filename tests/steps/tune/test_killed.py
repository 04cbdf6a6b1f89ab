"""kill -9 at five moments: the run that comes out is the one that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import msgspec
import safetensors.torch
import torch

from argotune.steps.contracts.training_plan import TrainingPlan
from tests.steps.tune.models import read_records, tiny_plan, write_dataset
from tests.steps.tune.traps.running import checkpoints, tune

KILLS = 5


def plan() -> TrainingPlan:
    """With dropout, whose random numbers have to go on where they were."""
    made = tiny_plan(epochs=40.0, save_steps=7, eval_steps=23, accumulation_steps=2)
    return msgspec.structs.replace(made, lora=msgspec.structs.replace(made.lora, dropout=0.1))


def work(work_dir: Path, model_dir: Path) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    tune(work_dir, model_dir, plan())


def written(work_dir: Path) -> int:
    """Lines in the record of the run."""
    path = work_dir / "report" / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(
    process: ForkServerProcess, work_dir: Path, lines: int, delay_seconds: float
) -> None:
    """SIGKILL a moment after the record has so many lines more than now."""
    goal = written(work_dir) + lines
    deadline = time.monotonic() + 60
    while written(work_dir) < goal:
        assert process.is_alive(), "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(delay_seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL


def test_killed_five_times_at_random_it_equals_the_undisturbed_run_bit_for_bit(
    tmp_path: Path, model_dir: Path, forks: ForkServerContext
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for work_dir in (undisturbed, disturbed):
        write_dataset(work_dir)
    tune(undisturbed, model_dir, plan())

    moments = random.Random(6)
    begun = set()
    for _ in range(KILLS):
        process = forks.Process(target=work, args=(disturbed, model_dir))
        process.start()
        kill_after(process, disturbed, moments.randint(8, 24), moments.uniform(0, 0.02))
        assert not (disturbed / "adapter").exists()
        begun.add(tuple(checkpoints(disturbed)))
    assert len(begun) == KILLS, "each try went on from the one before"
    result = tune(disturbed, model_dir, plan())

    assert 0 < result.resumed_from_step < result.steps
    records = read_records(disturbed)
    assert len(records) > result.steps > 100
    assert records == read_records(undisturbed)
    first, second = (
        safetensors.torch.load_file(work_dir / "adapter" / "adapter_model.safetensors")
        for work_dir in (undisturbed, disturbed)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)
