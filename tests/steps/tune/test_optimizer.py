from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from argotune.steps.plan.readers import OPTIMIZERS
from argotune.steps.tune.optimizer import make_optimizer
from tests.steps.tune.models import tiny_plan

SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "weight_decay": 0.1,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-6,
}


def weights() -> list[torch.nn.Parameter]:
    """Two matrices; one has enough numbers for bitsandbytes to keep its state in 8 bits."""
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(rows, 64, generator=generator)) for rows in (2, 80)]


def stepped(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> None:
    """Three steps on gradients that are the same each time."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", ["adamw_torch_fused", *OPTIMIZERS])
def test_steps_are_those_of_trainers_optimizer(name: str) -> None:
    ours, theirs = weights(), weights()
    stepped(make_optimizer(ours, tiny_plan(optim=name, **SETTINGS).training), ours)
    arguments = TrainingArguments(optim=name, use_cpu=True, **SETTINGS)
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    stepped(kind([{"params": theirs, "weight_decay": 0.1}], **options), theirs)
    for mine, other, before in zip(ours, theirs, weights(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
        assert not torch.equal(mine, before)


def test_a_state_of_8_bits_is_saved_and_restored() -> None:
    training = tiny_plan(optim="paged_adamw_8bit").training
    first, second = weights(), weights()
    optimizer, resumed = make_optimizer(first, training), make_optimizer(second, training)
    with pytest.warns(UserWarning, match="Paged optimizers are not supported on CPU"):
        stepped(optimizer, first)
    resumed.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        for parameter, other in zip(second, first, strict=True):
            parameter.copy_(other)
    stepped(optimizer, first)
    stepped(resumed, second)
    for parameter, other in zip(second, first, strict=True):
        torch.testing.assert_close(parameter, other, rtol=0, atol=0)
