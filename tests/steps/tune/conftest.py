"""Models, and the process that others are forked from, are made once per session."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

from tests.steps.tune.float64 import in_float64
from tests.steps.tune.models import save_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Phi-3 with a tokenizer that marks the assistant's turns."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(name="in_float64")
def _in_float64() -> Iterator[None]:
    """For tests that compare two computations of the same numbers."""
    with in_float64():
        yield


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Starts forks of a process that has imported torch and the step: a start of their own takes
    each process eight seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.steps.tune.crews", "tests.steps.tune.traps.running"])
    return context
