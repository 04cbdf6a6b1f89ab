"""Attention with bounded logits in pieces, against one product of all queries and keys."""

from __future__ import annotations

import pytest
import torch

from argotune.steps.causal_lm.softcap import QUERIES, softcapped_attention

HEADS, KEY_HEADS, WIDTH, CAP, SCALING = 4, 2, 8, 1.5, 0.7


def at_once(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    tokens, keys = query.shape[2], key.shape[2]
    key, value = (each.repeat_interleave(HEADS // KEY_HEADS, dim=1) for each in (key, value))
    logits = CAP * torch.tanh(query @ key.transpose(-1, -2) * SCALING / CAP)
    back = torch.arange(keys - tokens, keys)[:, None] - torch.arange(keys)
    seen = (back >= 0) & (back < (window or keys))
    return torch.softmax(logits.masked_fill(~seen, -torch.inf), dim=-1) @ value


@pytest.mark.parametrize("window", [None, 60])
@pytest.mark.parametrize(("tokens", "keys"), [(QUERIES + 90, QUERIES + 90), (1, 100), (7, 100)])
def test_outputs_and_gradients_are_those_of_all_queries_at_once(
    tokens: int, keys: int, window: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    states = [
        torch.randn(
            1, heads, length, WIDTH, generator=generator, dtype=torch.float64
        ).requires_grad_()
        for heads, length in ((HEADS, tokens), (KEY_HEADS, keys), (KEY_HEADS, keys))
    ]
    found = softcapped_attention(*states, scaling=SCALING, cap=CAP, window=window)
    expected = at_once(*states, window)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(output.square().sum(), states) for output in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
