"""Load the base model, quantized if the plan says so, and add a new adapter."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers.modeling_layers import GradientCheckpointingLayer

from argotune.steps.causal_lm.base import load_base
from argotune.steps.causal_lm.device import Device
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import Rope
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tune.blocks import packed_blocks
from argotune.steps.tune.lora import use_fused_layers
from argotune.steps.tune.varlen import attention_for

_logger = logging.getLogger(__name__)


def load_model(
    plan: TrainingPlan,
    model_dir: Path,
    device: Device,
    rope: Rope,
    *,
    sharded: bool = False,
    leads: bool = True,
) -> Any:
    """The base model with the plan's adapter, ready to train or, if `sharded`, to be sharded.

    Only the leading process writes the quantized cache. Raises PermanentError if the model cannot
    be loaded or does not match the plan.
    """
    with _blocks_of(plan):
        base = load_base(
            plan,
            model_dir,
            device,
            rope,
            attention=attention_for(device.torch_device),
            sharded=sharded,
            writes_cache=leads,
        )
    check_targets(base, plan.lora.target_modules)
    # Frozen here: PEFT's preparation also casts embeddings and norms to fp32, which takes gigabytes
    # (2.2 GB for a 7B model with 152k tokens) and has no benefit under autocast.
    base.requires_grad_(False)
    if plan.training.gradient_checkpointing:
        draws = bool(plan.lora.dropout) or uses_dropout(base)
        recompute_activations(base, plan.training.kept_blocks, draws=draws)
    lora = _lora_config(plan)
    if not plan.execution.compile:
        use_fused_layers(lora, base.get_decoder().layers)
    torch.manual_seed(plan.training.seed)
    with warnings.catch_warnings():
        # PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(base, lora, autocast_adapter_dtype=True)
    log.event(
        _logger,
        "model",
        method=plan.method,
        device=device.torch_device,
        weights=device.weights,
        trained=sum(p.numel() for p in trainable_parameters(model).values()),
        frozen_gb=sum(p.nbytes for p in model.parameters() if not p.requires_grad) / 1e9,
    )
    return model


def _blocks_of(plan: TrainingPlan) -> contextlib.AbstractContextManager[None]:
    """This package's parts of blocks, unless Liger or compile is on, which need transformers'."""
    if plan.execution.compile or plan.execution.liger:
        return contextlib.nullcontext()
    return packed_blocks(plan.model.family)


def recompute_activations(base: Any, kept_blocks: int, *, draws: bool) -> None:
    """Recompute the activations of all blocks except the last `kept_blocks`.

    The backward pass needs these first and has freed them when it recomputes the earlier blocks.
    `draws`: whether a block uses random numbers, whose state is then stored for each. It may be
    called again with another number.
    """
    blocks = _blocks(base)
    if not any(block.gradient_checkpointing for block in blocks):
        base.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": draws})
        base.enable_input_require_grads()
    for index, block in enumerate(blocks):
        block.gradient_checkpointing = index < len(blocks) - kept_blocks


def uses_dropout(model: Any) -> bool:
    """Whether a forward pass in training uses random numbers, which only dropout does."""
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    return any([*rates, getattr(model.config, "attention_dropout", 0.0)])


def count_kept_blocks(base: Any) -> int:
    """Number of blocks whose activations a pass in training keeps."""
    return sum(not block.gradient_checkpointing for block in _blocks(base))


def _blocks(base: Any) -> list[Any]:
    return [m for m in base.modules() if isinstance(m, GradientCheckpointingLayer)]


def trainable_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def check_targets(model: torch.nn.Module, target_modules: Sequence[str]) -> None:
    """Raise PermanentError for a target without a match, which PEFT ignores if another matches."""
    there = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    missing = [name for name in target_modules if name not in there]
    if missing:
        raise PermanentError(
            f"lora.target_modules {', '.join(missing)}: no such layer in this model; it has "
            f"{', '.join(sorted(there))}"
        )


def _lora_config(plan: TrainingPlan) -> LoraConfig:
    return LoraConfig(
        r=plan.lora.r,
        lora_alpha=plan.lora.alpha,
        lora_dropout=plan.lora.dropout,
        target_modules=sorted(plan.lora.target_modules),
        use_rslora=plan.lora.use_rslora,
        use_dora=plan.lora.use_dora,
        init_lora_weights=plan.lora.init_lora_weights,
        bias="none",
        task_type="CAUSAL_LM",
    )
