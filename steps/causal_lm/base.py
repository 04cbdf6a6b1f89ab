"""Load a base model without an adapter, quantized if the plan says so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from argotune.steps.causal_lm.device import Device
from argotune.steps.causal_lm.quantized_cache import with_quantized_cache
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import Rope, fix_rope
from argotune.steps.contracts.training_plan import Quantization, TrainingPlan
from argotune.steps.tokens.tokenizer import load_config


def load_base(
    plan: TrainingPlan,
    model_dir: Path,
    device: Device,
    rope: Rope,
    *,
    attention: str | None,
    sharded: bool = False,
    spread: bool = False,
    writes_cache: bool = True,
) -> Any:
    """The plan's base model on the device, on the CPU if it is to be `sharded` from there.

    With `spread` its blocks are on all GPUs of the machine, one after the other. `attention` is
    transformers' attn_implementation; None is its choice for the model. A cache of the 4-bit
    weights is read where the plan has one, and written if `writes_cache`. Raises PermanentError if
    the model cannot be loaded or does not match the plan.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    config = load_config(model_dir)
    if config.model_type != plan.model.family:
        raise PermanentError(
            f"{model_dir} has a {config.model_type} model, but the plan says {plan.model.family}"
        )
    fix_rope(config, rope)
    quantization = _quantization_config(plan.quantization, device.weights, sharded)
    load: Callable[..., Any] = functools.partial(
        AutoModelForCausalLM.from_pretrained,
        dtype=device.weights,
        attn_implementation=attention,
        device_map="auto" if spread else {"": _place(plan, device, sharded)},
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    if plan.execution.cache_quantized and quantization is not None:
        load = with_quantized_cache(load, device, writes=writes_cache)
    try:
        model = load(model_dir, config=config, quantization_config=quantization)
    except (OSError, ValueError) as error:
        raise PermanentError(f"{model_dir}: cannot be loaded: {error}") from error
    _keep_4bit_layout(model)
    return model


def _place(plan: TrainingPlan, device: Device, sharded: bool) -> Any:
    # Sharded 16-bit weights do not fit one GPU; 4-bit weights are quantized on the GPU.
    return "cpu" if sharded and not plan.quantization else device.torch_device


def _quantization_config(
    quantization: Quantization | None, compute: torch.dtype, sharded: bool
) -> Any:
    """Settings of bitsandbytes for transformers; None for a base that is not quantized."""
    if quantization is None:
        return None
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.quant_type,
        bnb_4bit_use_double_quant=quantization.double_quant,
        bnb_4bit_compute_dtype=compute,
        # Sharding needs the same data type as that of the other weights.
        bnb_4bit_quant_storage=compute if sharded else torch.uint8,
    )


def _keep_4bit_layout(model: torch.nn.Module) -> None:
    """Prevent bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    It repacks them in the first evaluation, after which training steps silently lose most of the
    gradient of the early layers.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
