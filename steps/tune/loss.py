"""Cross-entropy over labelled tokens only, so that no tokens x vocabulary matrix is ever whole.

The head is frozen, so the gradient that reaches the hidden states is known as soon as the logits
are: it is made in the forward pass, chunk by chunk, and no logits are made a second time for the
backward pass. With 8064 tokens in the vocabulary of a small model that is a sixth of all work.
"""

from __future__ import annotations

from typing import Any

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
    states = hidden[0, positions]
    if _is_plain_and_frozen(head) and states.requires_grad:
        loss: torch.Tensor = _FrozenHeadLoss.apply(states, targets, head.weight)
        return loss
    chunks = list(
        zip(torch.split(states, CHUNK_TOKENS), torch.split(targets, CHUNK_TOKENS), strict=True)
    )
    if not torch.is_grad_enabled():
        return torch.stack([_chunk_loss(*chunk, head) for chunk in chunks]).sum()
    return torch.stack(
        [checkpoint(_chunk_loss, *chunk, head, use_reentrant=False) for chunk in chunks]
    ).sum()


def _chunk_loss(states: torch.Tensor, targets: torch.Tensor, head: torch.nn.Module) -> torch.Tensor:
    return cross_entropy(head(states).float(), targets, reduction="sum")


def _is_plain_and_frozen(head: Any) -> bool:
    """Nothing but a frozen matrix, in a type that the logits can have: not 4-bit, no adapter."""
    return bool(
        type(head) is torch.nn.Linear
        and getattr(head, "bias", None) is None
        and not head.weight.requires_grad
        and type(head.weight) is torch.nn.Parameter
    )


class _FrozenHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """The sum, with the gradient of `states` kept for the backward pass."""
        gradient = torch.empty_like(states)
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        # One buffer for all chunks: fresh pages for each would cost as much as filling them.
        logits = weight.new_empty(min(CHUNK_TOKENS, len(states)), len(weight))
        for begin in range(0, len(states), CHUNK_TOKENS):
            chunk = slice(begin, begin + CHUNK_TOKENS)
            learned = targets[chunk, None]
            made = torch.mm(states[chunk].to(weight.dtype), weight.t(), out=logits[: len(learned)])
            shares = made.float()  # in a float32 model the buffer itself
            highest = shares.amax(dim=1, keepdim=True)
            found = shares.gather(1, learned)
            shares.sub_(highest).exp_()
            whole = shares.sum(dim=1, keepdim=True)
            total += (whole.log() + highest - found).sum()
            # The softmax less the one that is right, both times `whole`: the division is cheaper
            # on the product.
            shares.scatter_add_(1, learned, -whole)
            gradient[chunk] = (shares.to(weight.dtype) @ weight).div_(whole)
        context.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(context: Any, *output_gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = context.saved_tensors
        return (gradient * output_gradients[0]).to(gradient.dtype), None, None
