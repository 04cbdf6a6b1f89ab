"""Training that begins with another adapter's weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import safetensors.torch
import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.start_adapter import (
    DIRECTORY,
    LIVE,
    StartAdapter,
    write_start_adapter,
)
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tune.params import Result
from argotune.steps.tune.run import run
from tests.steps.tune.models import params_for, read_records, tiny_plan, write_dataset

DIGEST = f"sha256:{64 * '5'}"


def tune(work_dir: Path, model_dir: Path, plan: TrainingPlan) -> Result:
    return run(params_for(work_dir, model_dir, plan), progress=Progress())


def warm(plan: TrainingPlan) -> TrainingPlan:
    return msgspec.structs.replace(plan, lora=msgspec.structs.replace(plan.lora, start_from=LIVE))


def begin_with(work_dir: Path, adapter: Path, digest: str = DIGEST) -> None:
    """What the model step leaves."""
    shutil.copytree(adapter, work_dir / DIRECTORY)
    write_start_adapter(work_dir, StartAdapter(digest=digest, warm_starts=1))


@pytest.fixture
def trained(tmp_path: Path, model_dir: Path) -> tuple[Path, Result]:
    work_dir = tmp_path / "first"
    write_dataset(work_dir)
    return work_dir / "adapter", tune(work_dir, model_dir, tiny_plan(epochs=4.0))


def test_it_begins_with_the_loss_that_the_adapter_ended_with(
    tmp_path: Path, model_dir: Path, trained: tuple[Path, Result]
) -> None:
    adapter, first = trained
    assert isinstance(first.tuned_loss, float)
    write_dataset(tmp_path)
    begin_with(tmp_path, adapter)
    still = warm(tiny_plan(max_steps=1, learning_rate=1e-12))
    second = tune(tmp_path, model_dir, still)
    assert second.base_loss == first.base_loss
    # The step of a rate of 1e-12 does not show in float32.
    assert second.tuned_loss == pytest.approx(first.tuned_loss, rel=1e-5)
    card = (tmp_path / "adapter/README.md").read_text()
    assert DIGEST in card
    first_loss = next(record["loss"] for record in read_records(tmp_path) if "loss" in record)
    assert first_loss == pytest.approx(first.train_loss, rel=0.2)


def test_the_adapter_is_part_of_the_runs_identity(
    tmp_path: Path, model_dir: Path, trained: tuple[Path, Result]
) -> None:
    adapter, _ = trained
    write_dataset(tmp_path)
    plan = warm(tiny_plan(max_steps=1))
    with pytest.raises(PermanentError, match="the plan begins with live, which the model step"):
        tune(tmp_path, model_dir, plan)
    begin_with(tmp_path, adapter)
    tune(tmp_path, model_dir, plan)
    made_from = json.loads((tmp_path / "report/result.json").read_text())["made_from"]
    assert made_from["start adapter"] == DIGEST
    write_start_adapter(tmp_path, StartAdapter(digest=f"sha256:{64 * '6'}"))
    with pytest.raises(PermanentError, match=f"start adapter was {DIGEST}, is sha256:66"):
        tune(tmp_path, model_dir, plan)


def test_weights_of_another_shape_are_refused_by_name(
    tmp_path: Path, model_dir: Path, trained: tuple[Path, Result]
) -> None:
    adapter, _ = trained
    write_dataset(tmp_path)
    begin_with(tmp_path, adapter)
    path = tmp_path / DIRECTORY / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = sorted(tensors)[0]
    safetensors.torch.save_file({**tensors, name: torch.zeros(3, 3)}, path)
    with pytest.raises(PermanentError, match="1 tensors are not those of the plan's adapter, such"):
        tune(tmp_path, model_dir, warm(tiny_plan(max_steps=1)))
    path.write_bytes(b"x")
    with pytest.raises(PermanentError, match="cannot be read"):
        tune(tmp_path, model_dir, warm(tiny_plan(max_steps=1)))
