"""The optimizer of the plan, made as transformers' Trainer makes it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from argotune.steps.contracts.training_plan import Training


def make_optimizer(
    parameters: Sequence[torch.nn.Parameter], training: Training
) -> torch.optim.Optimizer:
    """The optimizer that `optim` names, over all parameters with the same weight decay.

    Those of an adapter are no biases and no norms of layers, which Trainer leaves without decay.
    """
    if training.optim == "adamw_torch_fused":
        return torch.optim.AdamW(
            parameters,
            lr=training.learning_rate,
            betas=(training.adam_beta1, training.adam_beta2),
            eps=training.adam_epsilon,
            weight_decay=training.weight_decay,
            fused=True,
        )
    # Seconds to import, and only here.
    from transformers import Trainer

    arguments: Any = SimpleNamespace(
        optim=training.optim,
        learning_rate=training.learning_rate,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        adam_epsilon=training.adam_epsilon,
        weight_decay=training.weight_decay,
        optim_args=None,
        optim_target_modules=None,
    )
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    groups = [{"params": list(parameters), "weight_decay": training.weight_decay}]
    made: torch.optim.Optimizer = kind(groups, **options)
    return made
