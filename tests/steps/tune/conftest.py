"""Models are made once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.steps.tune.models import save_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Phi-3 with a tokenizer that marks the assistant's turns."""
    return save_model(tmp_path_factory.mktemp("model"))
