from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from steps.tune.loss import CHUNK_TOKENS, summed_loss


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("tokens", [3, CHUNK_TOKENS, CHUNK_TOKENS + 1, 2 * CHUNK_TOKENS + 7])
def test_chunks_give_the_plain_loss_and_gradients(tokens: int, frozen: bool) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20, bias=False).requires_grad_(not frozen)
    hidden = torch.randn(1, tokens + 5, 8, requires_grad=True)
    positions, targets = torch.randperm(tokens + 5)[:tokens], torch.randint(20, (tokens,))
    loss = summed_loss(hidden, positions, targets, head)
    (found,) = torch.autograd.grad(loss, hidden)
    plain = cross_entropy(head(hidden[0])[positions], targets, reduction="sum")
    (expected,) = torch.autograd.grad(plain, hidden)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found, expected)


def test_a_frozen_head_in_bfloat16_gives_the_gradients_of_the_plain_loss_under_autocast() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 40, bias=False).to(torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(1, CHUNK_TOKENS + 9, 16, requires_grad=True)
    positions = torch.arange(CHUNK_TOKENS + 8)
    targets = torch.randint(40, (CHUNK_TOKENS + 8,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = summed_loss(hidden, positions, targets, head)
        plain = cross_entropy(head(hidden[0, positions]).float(), targets, reduction="sum")
    (found,) = torch.autograd.grad(loss / 3, hidden)
    (expected,) = torch.autograd.grad(plain / 3, hidden)
    torch.testing.assert_close(loss, plain, rtol=1e-4, atol=0.0)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)


def test_a_head_that_learns_itself_gets_its_gradient() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20, bias=False)
    hidden = torch.randn(1, 30, 8)
    positions, targets = torch.arange(29), torch.randint(20, (29,))
    loss = summed_loss(hidden, positions, targets, head)
    plain = cross_entropy(head(hidden[0])[positions], targets, reduction="sum")
    (found,) = torch.autograd.grad(loss, head.weight)
    (expected,) = torch.autograd.grad(plain, head.weight)
    torch.testing.assert_close(found, expected)
