"""Kills at the writes of a tuning: the run that comes out is the one that nobody disturbed."""

from __future__ import annotations

import functools
import re
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import msgspec
import pytest
import torch

from argotune.steps.contracts.training_plan import TrainingPlan, Watch
from argotune.steps.tune.params import Result
from argotune.steps.tune.run import run
from tests.steps.killing import Case, kill_everywhere, run_step
from tests.steps.tune.models import params_for, tiny_plan, write_dataset

MEASURED = re.compile(
    r'"(time|seconds|tokens_per_second|(peak_|loading_)?memory_gb|resumed_from_step)": ?[^,\s}]+'
)
"""What differs from run to run."""


def plan() -> TrainingPlan:
    """With dropout, whose random numbers have to go on where they were."""
    watch = Watch(samples=1, sample_tokens=2)
    made = tiny_plan(watch=watch, epochs=2.0, save_steps=2, eval_steps=3, early_stopping_patience=9)
    return msgspec.structs.replace(made, lora=msgspec.structs.replace(made.lora, dropout=0.1))


def run_tune(model_dir: Path, root: Path) -> None:
    torch.set_num_threads(1)
    run_step(params_for(root, model_dir, plan()), Result, run, root)


def compared(name: str, content: bytes) -> object:
    """Everything but measurements, what is drawn of them, and the result as outputs and log."""
    if name.startswith("outputs/"):
        return "there"
    if name.startswith("report/"):
        if name.endswith((".json", ".jsonl")):
            return MEASURED.sub("", content.decode())
        return None if name.startswith("report/tensorboard/") else "there"
    if name == "checkpoints/base_loss.json":
        return MEASURED.sub("", content.decode())
    return content


def without_checkpoints(name: str, content: bytes) -> object:
    """A checkpoint of the step at which SIGTERM came takes the place of an older one."""
    return None if name.startswith("checkpoints/step-") else compared(name, content)


@pytest.mark.parametrize(("by", "points"), [(signal.SIGKILL, 3), (signal.SIGTERM, 1)])
def test_a_killed_tune_leaves_no_trace(
    tmp_path: Path, model_dir: Path, forks: ForkServerContext, by: signal.Signals, points: int
) -> None:
    case = Case(
        prepare=write_dataset,
        run=functools.partial(run_tune, model_dir),
        compared=compared if by is signal.SIGKILL else without_checkpoints,
        # A try takes two seconds, a tenth of a second in the other steps.
        points=points,
        kills=1,
        signal=by,
        # What SIGTERM leaves is not what is there when it comes.
        is_slow=by is signal.SIGKILL,
    )
    with ProcessPoolExecutor(1, forks) as executor:
        print(executor.submit(kill_everywhere, case, tmp_path).result())
