"""The loss of a frozen head, with its own backward pass.

The gradient of the hidden states can be computed as soon as the logits are known. It is computed in
the forward pass, chunk by chunk, and no logits are recomputed for the backward pass. For a small
model with a vocabulary of 8064 tokens that saves a sixth of all work.
"""

from __future__ import annotations

from typing import Any

import torch

from argotune.steps.causal_lm.head import Head


def frozen_head_loss(
    states: torch.Tensor, targets: torch.Tensor, head: Head, chunk_tokens: int
) -> torch.Tensor | None:
    """Sum of the cross-entropy in nats of `states`, [tokens, width].

    The logits of `chunk_tokens` states exist at a time. None if the head is not a plain frozen
    matrix, or if `states` needs no gradient.
    """
    if not (_is_plain_and_frozen(head.layer) and states.requires_grad):
        return None
    loss: torch.Tensor = _FrozenHeadLoss.apply(
        states, targets, head.layer.weight, chunk_tokens, head.divisor, head.cap
    )
    return loss


def _is_plain_and_frozen(layer: Any) -> bool:
    """Whether lm_head is a frozen matrix in a type for logits: not 4-bit, without an adapter."""
    return bool(
        type(layer) is torch.nn.Linear
        and getattr(layer, "bias", None) is None
        and not layer.weight.requires_grad
        and type(layer.weight) is torch.nn.Parameter
    )


class _FrozenHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        states: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        chunk_tokens: int,
        divisor: float,
        cap: float | None,
    ) -> torch.Tensor:
        """The sum, with the gradient of `states` kept for the backward pass."""
        gradient = torch.empty_like(states)
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        # One buffer for all chunks: fresh pages for each would cost as much as filling them.
        logits = weight.new_empty(min(chunk_tokens, len(states)), len(weight))
        for begin in range(0, len(states), chunk_tokens):
            chunk = slice(begin, begin + chunk_tokens)
            learned = targets[chunk, None]
            made = torch.mm(states[chunk].to(weight.dtype), weight.t(), out=logits[: len(learned)])
            shares = made.float()  # in a float32 model the buffer itself
            slope = _bound(shares, divisor, cap)
            highest = shares.amax(dim=1, keepdim=True)
            found = shares.gather(1, learned)
            shares.sub_(highest).exp_()
            whole = shares.sum(dim=1, keepdim=True)
            total += (whole.log() + highest - found).sum()
            # The softmax less the one that is right, both times `whole`: the division is cheaper
            # on the product.
            shares.scatter_add_(1, learned, -whole)
            if slope is not None:
                shares.mul_(slope)
            gradient[chunk] = (shares.to(weight.dtype) @ weight).div_(whole * divisor)
        context.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(
        context: Any, *output_gradients: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None, None, None]:
        (gradient,) = context.saved_tensors
        return (gradient * output_gradients[0]).to(gradient.dtype), None, None, None, None, None


def _bound(logits: torch.Tensor, divisor: float, cap: float | None) -> torch.Tensor | None:
    """Divide and bound logits in place; the derivative of the bound, None without one."""
    if divisor != 1.0:
        logits.div_(divisor)
    if cap is None:
        return None
    logits.div_(cap).tanh_()
    slope = logits.square().neg_().add_(1.0)
    logits.mul_(cap)
    return slope
