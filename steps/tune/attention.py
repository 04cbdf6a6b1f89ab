"""Attention within each packed document, never across two.

A packed row is one sequence of documents, and the positions of each start at 0. One causal call
per document needs no T x T mask and can use the fast kernels; with a dense block-diagonal mask
packing was slower than no packing on a CPU (1061 against 1594 tokens/s).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from argotune.steps.causal_lm.softcap import softcapped_attention

SEGMENTED = "argotune_segmented"
"""Name for `attn_implementation`. transformers creates no mask for a name that it does not know,
so the forward pass must get `document_lengths`."""


def segmented_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    *,
    document_lengths: Sequence[int],
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of a packed row: [1, heads, tokens, width] to [1, tokens, heads, width]."""
    lengths = list(document_lengths)
    documents = [
        _document_attention(q, k, v, dropout, scaling, sliding_window, softcap)
        for q, k, v in zip(
            torch.split(query, lengths, dim=2),
            torch.split(key, lengths, dim=2),
            torch.split(value, lengths, dim=2),
            strict=True,
        )
    ]
    # The kernels' output has tokens before heads in memory, so this is the only copy.
    return torch.cat([document.transpose(1, 2) for document in documents], dim=1), None


def _document_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Causal attention of one document, [1, heads, tokens, width]."""
    if softcap is not None:
        return softcapped_attention(
            query,
            key,
            value,
            scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
            cap=softcap,
            window=sliding_window,
            dropout_rate=dropout,
        )
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=_window_mask(query, sliding_window),
        dropout_p=dropout,
        is_causal=not _window_matters(query, sliding_window),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _window_matters(query: torch.Tensor, sliding_window: int | None) -> bool:
    return sliding_window is not None and query.shape[2] > sliding_window


def _window_mask(query: torch.Tensor, sliding_window: int | None) -> torch.Tensor | None:
    """Mask [tokens, tokens]: each token attends to itself and `sliding_window - 1` before it."""
    if sliding_window is None or not _window_matters(query, sliding_window):
        return None
    tokens = query.shape[2]
    full = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device)
    return full.tril() & ~full.tril(-sliding_window)


AttentionInterface.register(SEGMENTED, segmented_attention)
