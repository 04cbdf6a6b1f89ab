"""Load the base model with its adapter according to the serving contract."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from argotune.steps.accelerator.gpus import prepare_gpu
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.exhausted import missing_gpu_memory
from argotune.steps.contracts.model_cache import read_marker
from argotune.steps.contracts.serving import ServingContract, fix_rope


def load_tokenizer(model_dir: Path, contract: ServingContract) -> Any:
    """The base model's tokenizer with training's chat template. Raises PermanentError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise PermanentError(f"{model_dir}: no usable tokenizer: {error}") from error
    tokenizer.chat_template = contract.chat_template
    return tokenizer


def load_model(
    model_dir: Path, adapter_dir: Path, contract: ServingContract, *, load_in_4bit: bool
) -> Any:
    """Base and adapter on the GPU in bfloat16, or on the CPU in fp32. Raises PermanentError."""
    weights = adapter_dir / "adapter_model.safetensors"
    if not weights.exists():
        raise PermanentError(f"{weights} is missing; only safetensors are supported")
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
        config = AutoConfig.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
        _check_base(config, contract, model_dir)
        fix_rope(config, contract.rope)
        base = AutoModelForCausalLM.from_pretrained(
            model_dir,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
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
        raise PermanentError(
            f"base {model_dir} with adapter {adapter_dir} cannot be loaded: {error}"
        ) from error


def _check_base(config: Any, contract: ServingContract, model_dir: Path) -> None:
    """Raise PermanentError unless this is the base model of the adapter's training."""
    marker = read_marker(model_dir)
    known = contract.base.digest
    if known and marker is not None and marker.digest != known:
        raise PermanentError(
            f"{model_dir} has other files ({marker.digest}) than the base model of the adapter's "
            f"training, {contract.base.repository} ({known}); serve the adapter on that one"
        )
    if config.model_type != contract.base.family:
        raise PermanentError(
            f"{model_dir} has a {config.model_type} model, but the adapter belongs to "
            f"{contract.base.repository}, a {contract.base.family} model"
        )


def _quantization(contract: ServingContract, compute: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=contract.quantization or "nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
