"""Cross-entropy over labelled tokens in chunks, without the whole tokens x vocabulary matrix."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from argotune.steps.causal_lm.frozen_head import frozen_head_loss
from argotune.steps.causal_lm.head import Head

CHUNK_TOKENS = 512
"""Labelled tokens whose logits exist at a time; the plan's memory estimate uses the same number."""


def summed_loss(
    hidden: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor, head: Head
) -> torch.Tensor:
    """Sum of the cross-entropy in nats of `targets`, each predicted from its position in `hidden`.

    `hidden` is [1, tokens, width]. The caller divides the sum by the number of labels of the whole
    optimizer step, because a mean of means over micro-batches would weight their tokens unequally.
    """
    states = hidden[0, positions]
    if (loss := frozen_head_loss(states, targets, head, CHUNK_TOKENS)) is not None:
        return loss
    chunks = list(
        zip(torch.split(states, CHUNK_TOKENS), torch.split(targets, CHUNK_TOKENS), strict=True)
    )
    if not torch.is_grad_enabled():
        return torch.stack([_chunk_loss(*chunk, head) for chunk in chunks]).sum()
    return torch.stack(
        [checkpoint(_chunk_loss, *chunk, head, use_reentrant=False) for chunk in chunks]
    ).sum()


def _chunk_loss(states: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
    return cross_entropy(head(states).float(), targets, reduction="sum")
