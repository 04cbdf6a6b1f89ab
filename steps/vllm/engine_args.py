"""vLLM's arguments for an adapter and its base, by the serving contract and the server's flags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.contracts.vllm import (
    GPU_MEMORY_SHARE,
    MOST_ADAPTERS_TOGETHER,
    MOST_ANSWERS,
    STEP_TOKENS,
    max_lora_rank,
    unservable,
    unservable_config,
)
from argotune.steps.serve.params import Params

MOST_ADAPTERS = 64
"""That a server holds, in its memory: one whose files were read again during an answer, and were
gone by then, would end the engine."""
_BFLOAT16_CAPABILITY = (8, 0)
"""Of NVIDIA's Ampere, the first that computes in bfloat16."""


def engine_args(
    params: Params,
    contract: ServingContract,
    config: Any,
    *,
    further: Sequence[ServingContract] = (),
    tokenizer_dir: Path,
    capability: tuple[int, int] | None,
) -> dict[str, Any]:
    """The keyword arguments of vLLM's AsyncEngineArgs.

    Args:
        params: The server's.
        contract: The first adapter's, or that of a base without one.
        config: The base model's, of transformers.
        further: The contracts of the adapters that are there already.
        tokenizer_dir: The tokenizer of `write_tokenizer`.
        capability: Compute capability of the GPUs; None: on the CPU.

    Raises PermanentError, with all that vLLM does not serve.
    """
    gpus = max(1, params.gpus)
    problems = _problems(params, contract, config, gpus)
    if problems:
        raise PermanentError("; ".join(problems))
    ranks = [
        each.adapter.r
        for each in (contract, *further)
        if each.adapter.r and not reason_against(each)
    ]
    slots = params.slots or MOST_ANSWERS
    return {
        "model": str(params.model_dir),
        "tokenizer": str(tokenizer_dir),
        # Those of training and of the other engine, so that the answers are the same.
        "dtype": "float32"
        if capability is None or capability < _BFLOAT16_CAPABILITY
        else "bfloat16",
        "max_model_len": _length(contract, config),
        "max_num_seqs": slots,
        "tensor_parallel_size": gpus,
        **(_lora_args(params, ranks) if ranks else {}),
        **({} if capability is None else _gpu_args(slots)),
        # Its graphs are compiled with g++ for a CPU, for minutes at each start.
        "enforce_eager": capability is None,
        # The base model's generation_config.json is not what the adapter was trained with.
        "generation_config": "vllm",
        "disable_log_stats": True,
        "trust_remote_code": False,
    }


def _lora_args(params: Params, ranks: Sequence[int]) -> dict[str, Any]:
    several = params.adapters_dir is not None
    return {
        "enable_lora": True,
        "max_lora_rank": max_lora_rank(max(ranks)),
        "max_loras": MOST_ADAPTERS_TOGETHER if several else min(MOST_ADAPTERS_TOGETHER, len(ranks)),
        # A place more: one that is replaced stays until it has answered.
        "max_cpu_loras": 1 + (MOST_ADAPTERS if several else len(ranks)),
    }


def _gpu_args(slots: int) -> dict[str, Any]:
    """What a service without training is planned with; a CPU has settings of its own."""
    return {
        "gpu_memory_utilization": GPU_MEMORY_SHARE,
        "max_num_batched_tokens": max(STEP_TOKENS, slots),
    }


def reason_against(contract: ServingContract) -> str:
    """Why vLLM does not serve the adapter; empty where it does."""
    return unservable(rank=contract.adapter.r, use_dora=contract.adapter.use_dora)


def reason_against_files(directory: Path) -> str:
    """Why vLLM would serve the adapter otherwise than PEFT; empty also where it says why itself."""
    try:
        config = json.loads((directory / "adapter_config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    return unservable_config(config) if isinstance(config, dict) else ""


def _problems(params: Params, contract: ServingContract, config: Any, gpus: int) -> list[str]:
    problems = []
    if reason := reason_against(contract):
        problems.append(f"{reason}; serve it on transformers")
    if params.load_in_4bit:
        problems.append("--load-in-4bit: vLLM has no 4 bits of bitsandbytes; serve on transformers")
    heads = config.num_attention_heads
    if heads % gpus:
        problems.append(
            f"--gpus: {gpus}, but the model's {heads} attention heads cannot be shared by so many; "
            f"give a number that divides {heads}"
        )
    return problems


def _length(contract: ServingContract, config: Any) -> int:
    """Tokens of question and answer; -1: the model's, or as many as the memory holds.

    A shorter length is named, for by it vLLM chooses LongRoPE's factors: the long ones above the
    model's original length, which so are named for a context that is as short.
    """
    if contract.max_length >= config.max_position_embeddings:
        return -1
    if contract.rope == "long":
        original_length = int(config.rope_parameters["original_max_position_embeddings"])
        return max(contract.max_length, original_length + 1)
    return contract.max_length


def write_tokenizer(tokenizer: Any, contract: ServingContract, directory: Path) -> None:
    """Write the tokenizer for vLLM, with training's end of turn for the end of a text.

    vLLM lets an answer that is held to a grammar end with that token alone, and a base model's
    tokenizer may have another one, which the adapter has never written.
    """
    before = tokenizer.eos_token
    tokenizer.eos_token = contract.stop_tokens[0]
    tokenizer.save_pretrained(directory)
    tokenizer.eos_token = before
