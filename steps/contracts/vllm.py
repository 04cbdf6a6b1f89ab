"""What vLLM 0.33 serves of adapters, and what it does not."""

from __future__ import annotations

from typing import Literal

Engine = Literal["transformers", "vllm"]
"""What a server computes its answers with; each has an image of its own."""

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


def unservable(*, rank: int, use_dora: bool) -> str:
    """Why vLLM does not serve such an adapter; empty where it does."""
    if use_dora:
        return "the adapter is a DoRA adapter, which vLLM does not serve"
    if rank > LORA_RANKS[-1]:
        return f"the adapter's rank is {rank}, and vLLM's largest is {LORA_RANKS[-1]}"
    return ""
