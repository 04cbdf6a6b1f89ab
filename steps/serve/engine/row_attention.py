"""Attention of a batch in which every answer has a cache of its own and sees nothing else.

The tokens of all answers are one packed row, so that the linear layers see them together. Attention
is called for each answer alone, with the same shapes as if it were alone: no padding, no mask over
others, and nothing is copied when an answer joins or leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from argotune.steps.causal_lm.softcap import softcapped_attention

BY_ROW = "argotune_by_row"
"""Name for `attn_implementation`. transformers creates no mask for a name that it does not know,
so the forward pass must get `segments`."""
_FIRST_ROOM = 128
"""Tokens that a new cache has room for; each time it is full the room doubles."""


class RowCache:
    """Keys and values of one answer for each block of the model, [heads, tokens, width].

    It takes the memory of at most `most_tokens` tokens.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._blocks: list[tuple[torch.Tensor, torch.Tensor]] = []

    def write(
        self, block: int, begin: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put new keys and values at `begin`; return all up to them.

        Blocks come in their order, and positions without a gap.
        """
        end = begin + keys.shape[1]
        if block == len(self._blocks):
            self._blocks.append((self._room(keys, end), self._room(values, end)))
        kept_keys, kept_values = self._blocks[block]
        if end > kept_keys.shape[1]:
            kept_keys = self._moved(kept_keys, begin, end)
            kept_values = self._moved(kept_values, begin, end)
            self._blocks[block] = kept_keys, kept_values
        kept_keys[:, begin:end] = keys
        kept_values[:, begin:end] = values
        return kept_keys[:, :end], kept_values[:, :end]

    def _room(self, like: torch.Tensor, tokens: int) -> torch.Tensor:
        heads, _, width = like.shape
        room = min(max(_FIRST_ROOM, 2 * tokens), self._most_tokens)
        return like.new_empty(heads, max(tokens, room), width)

    def _moved(self, kept: torch.Tensor, filled: int, tokens: int) -> torch.Tensor:
        larger = self._room(kept, tokens)
        larger[:, :filled] = kept[:, :filled]
        return larger


@dataclass
class Segment:
    """Some successive tokens of one answer within the packed row."""

    cache: RowCache
    begin: int
    """Position of its first token in the answer's conversation."""
    at: slice
    """Its tokens in the packed row."""
    _masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor | None:
        """[tokens, keys]: each token attends to itself and those before it, within the window.

        None for a single token, which attends to all that it is given.
        """
        tokens = self.at.stop - self.at.start
        if tokens == 1:
            return None
        if window not in self._masks:
            mask = torch.ones(tokens, self.begin + tokens, dtype=torch.bool, device=device)
            mask = mask.tril(self.begin)
            self._masks[window] = mask if window is None else mask.triu(self.begin - window + 1)
        return self._masks[window]


def attention_by_row(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    *,
    segments: Sequence[Segment],
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """[1, heads, tokens, width] to [1, tokens, heads, width]; tokens of no segment get zeros."""
    output = query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])
    for segment in segments:
        at = segment.at
        keys, values = segment.cache.write(
            module.layer_idx, segment.begin, key[0, :, at], value[0, :, at]
        )
        if softcap is not None:
            bounded = softcapped_attention(
                query[:, :, at],
                keys[None],
                values[None],
                scaling=module.scaling,
                cap=softcap,
                window=sliding_window,
            )
            output[:, at] = bounded.transpose(1, 2)
            continue
        mask = segment.mask(sliding_window, query.device)
        if mask is None and sliding_window is not None:
            keys, values = keys[:, -sliding_window:], values[:, -sliding_window:]
        answered = scaled_dot_product_attention(
            query[:, :, at],
            keys[None],
            values[None],
            attn_mask=mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        output[:, at] = answered.transpose(1, 2)
    return output, None


AttentionInterface.register(BY_ROW, attention_by_row)
