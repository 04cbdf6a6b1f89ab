"""Attention whose logits are bounded, cap * tanh(logits / cap), as Gemma 2 has it.

None of torch's fused kernels has such a bound. Here 512 queries are computed at a time, and once
more in the backward pass, so memory grows with the length of a document and not with its square.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import dropout, softmax
from torch.utils.checkpoint import checkpoint

QUERIES = 512
"""Queries that are computed at a time; the plan's memory estimate uses the same number."""


def softcapped(logits: torch.Tensor, cap: float) -> torch.Tensor:
    """Logits between -cap and cap."""
    return torch.tanh(logits / cap) * cap


def softcapped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float,
    cap: float,
    window: int | None,
    dropout_rate: float = 0.0,
) -> torch.Tensor:
    """Causal attention of the last tokens of one document, [1, heads, tokens, width].

    Keys and values are [1, their heads, keys, width]; the queries are those of the last keys.
    """
    tokens, begin = query.shape[2], key.shape[2] - query.shape[2]
    pieces = []
    for start in range(0, tokens, QUERIES):
        stop = min(start + QUERIES, tokens)
        first = 0 if window is None else max(0, begin + start - window + 1)
        keys = slice(first, begin + stop)
        arguments: Any = (
            query[:, :, start:stop],
            key[:, :, keys],
            value[:, :, keys],
            _mask(stop - start, begin + start - first, window, query.device),
            scaling,
            cap,
            dropout_rate,
        )
        if torch.is_grad_enabled():
            draws = dropout_rate > 0
            pieces.append(
                checkpoint(_piece, *arguments, use_reentrant=False, preserve_rng_state=draws)
            )
        else:
            pieces.append(_piece(*arguments))
    return torch.cat(pieces, dim=2)


def _mask(tokens: int, before: int, window: int | None, device: torch.device) -> torch.Tensor:
    """[tokens, before + tokens]: whether a token attends to a key, itself and those before it."""
    mask = torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)
    return mask if window is None else mask.triu(before - window + 1)


def _piece(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    cap: float,
    dropout_rate: float,
) -> torch.Tensor:
    # Heads that share keys are a dimension of their own.
    grouped = query.reshape(1, key.shape[1], -1, *query.shape[2:])
    logits = softcapped(grouped @ key[:, :, None].transpose(-1, -2) * scaling, cap)
    logits = logits.masked_fill(~mask, -torch.inf)
    exact = torch.promote_types(query.dtype, torch.float32)
    shares = dropout(softmax(logits, dim=-1, dtype=exact).to(query.dtype), dropout_rate)
    return (shares @ value[:, :, None]).flatten(1, 2)
