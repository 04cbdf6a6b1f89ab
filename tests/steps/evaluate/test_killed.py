"""`kill -9` at the writes of the gate: another try finds or makes the same verdict."""

from __future__ import annotations

import functools
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

from argotune.steps.evaluate.params import Params, Result
from argotune.steps.evaluate.run import run
from tests.steps.killing import Case, kill_everywhere, run_step


def prepare(tuned: Path, root: Path) -> None:
    shutil.copytree(tuned, root / "work")


def run_evaluate(model_dir: Path, root: Path) -> None:
    torch.set_num_threads(1)
    params = Params(
        plan_file=root / "work" / "plan.yaml",
        model_dir=model_dir,
        work_dir=root / "work",
        answers=0,
    )
    run_step(params, Result, run, root)


def test_a_killed_evaluate_leaves_no_trace(
    tmp_path: Path, tuned: Path, model_dir: Path, forks: ForkServerContext
) -> None:
    case = Case(
        prepare=functools.partial(prepare, tuned),
        run=functools.partial(run_evaluate, model_dir),
        # A try takes longer than in the steps without torch.
        points=2,
        kills=1,
        is_slow=True,
    )
    with ProcessPoolExecutor(1, forks) as executor:
        print(executor.submit(kill_everywhere, case, tmp_path).result())
