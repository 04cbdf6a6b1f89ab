"""The architectures that can be tuned, by transformers' model_type: what their blocks are made of.

A config.json has the sizes of a model; which layers have them is in transformers' modeling files
(5.23). A test builds each architecture there and compares layers and parameter counts.

A new architecture is a row here. Its attention must go through transformers' attention interface
(AttentionInterface), and its linear layers must be torch.nn.Linear, which PEFT adapts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a block consists of, beside the sizes of the config.json."""

    fused_qkv: bool = False
    """q, k and v are one layer, qkv_proj."""
    fused_gate_up: bool = False
    """gate and up are one layer, gate_up_proj."""
    norms: int = 2
    """Norms over the hidden size in a block, weights only."""
    query_key_norms: Literal["none", "head", "all heads"] = "none"
    """Norms of queries and keys: none, one weight per number of a head, or of all heads."""
    biased: tuple[str, ...] = ()
    """Layers of the attention that have a bias where attention_bias is true."""
    experts: bool = False
    """The MLP has experts, which transformers holds in two parameters of three dimensions. PEFT
    adapts no layer there, bitsandbytes leaves them in 16 bits."""
    plain: bool = False
    """Training has no faster norms and MLP of its own for it (steps/tune/blocks.py)."""
    liger: bool = True
    """Liger has kernels for its norms, rotary embedding and gated SiLU."""


_QKV = ("q_proj", "k_proj", "v_proj")
_QKVO = (*_QKV, "o_proj")

FAMILIES: Mapping[str, Layout] = {
    "gemma2": Layout(norms=4, biased=_QKVO, plain=True, liger=False),
    "gemma3_text": Layout(norms=4, query_key_norms="head", biased=_QKVO, plain=True, liger=False),
    "glm4": Layout(fused_gate_up=True, norms=4, biased=_QKV),
    "granite": Layout(biased=_QKVO),
    "llama": Layout(biased=_QKVO),
    "ministral": Layout(),
    "ministral3": Layout(liger=False),
    "mistral": Layout(),
    "olmo2": Layout(query_key_norms="all heads", biased=_QKVO),
    "phi3": Layout(fused_qkv=True, fused_gate_up=True),
    "qwen2": Layout(biased=_QKV),
    "qwen2_moe": Layout(biased=_QKV, experts=True, liger=False),
    "qwen3": Layout(query_key_norms="head", biased=_QKVO),
    "qwen3_moe": Layout(query_key_norms="head", biased=_QKVO, experts=True),
    "smollm3": Layout(biased=_QKVO),
}
"""transformers' model_type -> layout."""


def layout_of(family: str) -> Layout:
    """The layout of a family. Raises ValueError with the known ones for another."""
    if family not in FAMILIES:
        raise ValueError(
            f"{family!r} is not an architecture that can be tuned; known are {', '.join(FAMILIES)}"
        )
    return FAMILIES[family]
