"""What vLLM 0.33 serves of adapters and what it does not, and how much it computes at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Engine = Literal["transformers", "vllm"]
"""What a server computes its answers with; each has an image of its own."""
ENGINE_NAMES: Mapping[Engine, str] = {"transformers": "transformers", "vllm": "vLLM"}
AskedEngine = Literal["auto", "transformers", "vllm"]

GPU_MEMORY_SHARE = 0.9
"""Of a GPU's memory, for all that vLLM has there: its default."""
STEP_TOKENS = 2048
"""Tokens that it computes at once at most; longer questions take several steps."""
MOST_ANSWERS = 256
"""Answers at once."""
MOST_ADAPTERS_TOGETHER = 8
"""Adapters in one step; each takes room for the largest rank on the GPU. Others wait for the next
steps."""

_CONFIG = "adapter_config.json"
_NOT_READ = ("alpha_pattern", "modules_to_save", "rank_pattern")

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that --max-lora-rank accepts; an adapter's rank may be any number up to it."""


def max_lora_rank(rank: int) -> int:
    """The smallest --max-lora-rank for an adapter's rank; the default, 16, refuses larger ones.

    Raises ValueError for a rank that vLLM does not support.
    """
    for accepted in LORA_RANKS:
        if accepted >= rank:
            return accepted
    raise ValueError(f"rank {rank}: vLLM serves adapters of rank {LORA_RANKS[-1]} at most")


def engine_of(asked: AskedEngine, *, has_gpu: bool, allow_cpu: bool, load_in_4bit: bool) -> Engine:
    """The engine that is asked for; auto: vLLM, unless it could not answer."""
    if asked != "auto":
        return asked
    return "vllm" if has_gpu and not (allow_cpu or load_in_4bit) else "transformers"


def unservable(*, rank: int, use_dora: bool) -> str:
    """Why vLLM does not serve such an adapter; empty where it does."""
    if use_dora:
        return "the adapter is a DoRA adapter, which vLLM does not serve"
    if rank > LORA_RANKS[-1]:
        return f"the adapter's rank is {rank}, and vLLM's largest is {LORA_RANKS[-1]}"
    return ""


def unservable_config(config: Mapping[str, Any]) -> str:
    """Why vLLM does not serve the adapter with this adapter_config.json; empty where it does.

    What its reader of such files (vllm/lora/peft_helper.py) passes over would give other answers.
    """
    rank = config.get("r")
    reason = unservable(
        rank=rank if isinstance(rank, int) else 0, use_dora=bool(config.get("use_dora"))
    )
    found = [key for key in _NOT_READ if config.get(key)]
    if config.get("bias") not in (None, "none"):
        found.append("bias")
    if reason or not found:
        return reason
    return f"the adapter's {_CONFIG} has {', '.join(found)}, which vLLM does not follow"
