"""Cross-entropy over labelled tokens only, so that no tokens x vocabulary matrix is ever whole."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 512
"""Labelled tokens whose logits exist at the same time; the plan's memory estimate counts on it."""


def summed_loss(
    hidden: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor, head: torch.nn.Module
) -> torch.Tensor:
    """Sum of the cross-entropy in nats of `targets`, each predicted from its position in `hidden`.

    `hidden` is [1, tokens, width]. The caller divides the sum, for it knows how many labels the
    whole optimizer step has: a mean of means over micro-batches weighs their tokens unequally.
    """
    states = torch.split(hidden[0, positions], CHUNK_TOKENS)
    chunks = list(zip(states, torch.split(targets, CHUNK_TOKENS), strict=True))
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return torch.stack([_chunk_loss(*chunk, head) for chunk in chunks]).sum()
    return torch.stack(
        [checkpoint(_chunk_loss, *chunk, head, use_reentrant=False) for chunk in chunks]
    ).sum()


def _chunk_loss(states: torch.Tensor, targets: torch.Tensor, head: torch.nn.Module) -> torch.Tensor:
    return cross_entropy(head(states).float(), targets, reduction="sum")
