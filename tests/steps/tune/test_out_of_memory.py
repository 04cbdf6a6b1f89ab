"""A card with too little memory, in whose place the model's own blocks raise CUDA's error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tune.device import find_device
from argotune.steps.tune.load import count_kept_blocks, load_model
from argotune.steps.tune.loop import train
from argotune.steps.tune.stop import StopRequest
from tests.fakes.jobs import bare_job
from tests.steps.tune.models import tiny_plan
from tests.steps.tune.test_pack import packed, rows_of

ERROR = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.06 GiB"
BLOCKS = 2

Shrink = Callable[[Any, int], None]


def fail(*_: Any) -> None:
    raise torch.OutOfMemoryError(ERROR)


def room_forward(model: Any, kept_blocks: int) -> None:
    """Let the forward pass run out of memory where more blocks are kept."""
    base = model.get_base_model()
    for block in base.get_decoder().layers:
        block.register_forward_pre_hook(
            lambda *_: fail() if count_kept_blocks(base) > kept_blocks else None
        )


def room_backward(model: Any, kept_blocks: int) -> None:
    """The same of the backward pass, when half of the gradients are there."""
    base = model.get_base_model()

    def watch(block: Any, args: Any, output: torch.Tensor) -> None:
        if output.requires_grad and count_kept_blocks(base) > kept_blocks:
            output.register_hook(fail)

    base.get_decoder().layers[0].register_forward_hook(watch)


def losses(
    work_dir: Path, model_dir: Path, plan: TrainingPlan, shrink: Shrink | None, room: int = 0
) -> tuple[list[tuple[float, float]], int]:
    """Loss and gradient norm of each step, and the number of blocks that were kept at the end."""
    device = find_device()
    model = load_model(plan, model_dir, device, "default")
    if shrink is not None:
        shrink(model, room)
    packs = packed(rows_of(60, 60, 40, 40), 100)
    with StopRequest() as stop:
        job = bare_job(model, device, plan.training, packs, work_dir, stop)
        train(job)
        # Closes the file; `close` would draw the curves, which takes seconds.
        job.report.rewind(job.schedule.steps)
    lines = (work_dir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    kept = count_kept_blocks(model.get_base_model())
    return [(r["loss"], r["gradient_norm"]) for r in records if "loss" in r], kept


@pytest.mark.parametrize(
    ("shrink", "room", "dropout"),
    [(room_forward, 1, 0.0), (room_forward, 0, 0.1), (room_backward, 0, 0.0)],
)
def test_fewer_blocks_are_kept_and_the_results_stay(
    tmp_path: Path,
    model_dir: Path,
    shrink: Shrink,
    room: int,
    dropout: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = tiny_plan(max_steps=2, accumulation_steps=2)
    lora = msgspec.structs.replace(plan.lora, dropout=dropout)
    plan = msgspec.structs.replace(plan, lora=lora)
    expected, kept = losses(tmp_path / "roomy", model_dir, plan, None)
    assert kept == BLOCKS
    found, kept = losses(tmp_path / "small", model_dir, plan, shrink, room)
    assert kept == room
    assert found == [pytest.approx(each, rel=1e-5) for each in expected]
    assert len(found) > 1
    told = [record for record in caplog.records if "gpu_memory_too_small" in record.getMessage()]
    assert len(told) == BLOCKS - room
    assert ERROR in caplog.text


def test_the_step_ends_where_even_recomputed_activations_do_not_fit(
    tmp_path: Path, model_dir: Path
) -> None:
    with pytest.raises(PermanentError) as caught:
        losses(tmp_path, model_dir, tiny_plan(), room_forward, -1)
    assert str(caught.value) == (
        "the GPU's memory is too small for micro-batches of 128 tokens with the activations of 0 "
        f"blocks kept: {ERROR}; use a smaller max_length or micro_batch_tokens, method qlora, or a "
        "GPU with more memory"
    )
