"""Load the base model with its adapter, and the engine on them, by the serving contract."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from argotune.steps.accelerator.gpus import prepare_gpu
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.exhausted import missing_gpu_memory
from argotune.steps.contracts.serving import ServingContract, fix_rope
from argotune.steps.serve.engine.memory import free_memory, slots_that_fit, weights_bytes
from argotune.steps.serve.engine.transformers_engine import TransformersEngine
from argotune.steps.serve.params import Params
from argotune.steps.serve.served_files import adapters_of_service, check_weights, load_config

_logger = logging.getLogger(__name__)

_SLOTS = 16


def load_engine(params: Params, contract: ServingContract, tokenizer: Any) -> TransformersEngine:
    """The engine on transformers and PEFT. Raises PermanentError."""
    asked = params.slots or _SLOTS
    model = load_model(
        params.model_dir, params.adapter_dir, contract, load_in_4bit=params.load_in_4bit
    )
    free_bytes, further = free_memory(model.device), adapters_of_service(params.service_dir)
    slots = slots_that_fit(model, contract.max_length, asked, _without(free_bytes, further))
    if slots < asked:
        log.warn(_logger, "memory for fewer answers at once", slots=slots, asked=asked)
    first = params.name if params.adapter_dir is not None else None
    return TransformersEngine(
        model, tokenizer, contract, name=first, slots=slots, free_bytes=free_bytes
    )


def _without(free_bytes: int | None, adapters: list[Path]) -> int | None:
    """What is free for answers when these adapters are there too."""
    if free_bytes is None:
        return None
    return max(0, free_bytes - sum(map(weights_bytes, adapters)))


def load_model(
    model_dir: Path, adapter_dir: Path | None, contract: ServingContract, *, load_in_4bit: bool
) -> Any:
    """Base and adapter on the GPU in bfloat16, or on the CPU in fp32; without one the base alone.

    Raises PermanentError.
    """
    if adapter_dir is not None:
        check_weights(adapter_dir)
    config = load_config(model_dir, contract)
    fix_rope(config, contract.rope)
    # torch prefers cuDNN's attention on Hopper and Blackwell, but cuDNN plans every new shape, 0.44
    # s on a B200 (modelscope/FunASR, issue 3704), and questions differ in length.
    torch.backends.cuda.enable_cudnn_sdp(False)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        prepare_gpu(0)
    bfloat16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        base = AutoModelForCausalLM.from_pretrained(
            model_dir,
            config=config,
            dtype=dtype,
            quantization_config=_quantization(contract, dtype) if load_in_4bit else None,
            device_map={"": torch.device("cuda", 0) if on_gpu else torch.device("cpu")},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        # bitsandbytes repacks 4-bit weights for AVX512-BF16 in place, with other rounding, but the
        # answers should be those that training evaluated.
        for module in base.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False
        if adapter_dir is None:
            return base.eval()  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            # PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
            warnings.simplefilter("ignore", FutureWarning)
            return PeftModel.from_pretrained(base, str(adapter_dir), is_trainable=False).eval()
    except (OSError, ValueError, RuntimeError) as error:
        if (missing := missing_gpu_memory(error)) is not None:
            raise PermanentError(
                f"the GPU's memory is too small for the base model: {missing}; serve on a GPU with "
                "more memory, or with --load-in-4bit, and see that no other process uses this one"
            ) from error
        adapter = "" if adapter_dir is None else f" with adapter {adapter_dir}"
        raise PermanentError(f"base {model_dir}{adapter} cannot be loaded: {error}") from error


def _quantization(contract: ServingContract, compute: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=contract.quantization or "nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
