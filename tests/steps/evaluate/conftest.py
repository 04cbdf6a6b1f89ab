"""One model, data and an adapter that learned them, made once for all tests here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from argotune.steps.common.progress import Progress
from argotune.steps.tune import run as tune
from tests.steps.tune.conftest import forks as forks
from tests.steps.tune.models import params_for, save_model, tiny_plan, write_dataset


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """The volume of a run after its step tune."""
    return tune_in(tmp_path_factory.mktemp("tuned"), model_dir, learning_rate=1e-2)


@pytest.fixture
def work_dir(tuned: Path, tmp_path: Path) -> Path:
    """A volume of its own for each test, with the tuned adapter."""
    return Path(shutil.copytree(tuned, tmp_path / "work"))


def tune_in(work_dir: Path, model_dir: Path, *, learning_rate: float) -> Path:
    write_dataset(work_dir)
    plan = tiny_plan(learning_rate=learning_rate)
    tune.run(params_for(work_dir, model_dir, plan), progress=Progress())
    return work_dir
