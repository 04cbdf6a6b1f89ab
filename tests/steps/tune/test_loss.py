from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from steps.tune.loss import CHUNK_TOKENS, summed_loss


@pytest.mark.parametrize("tokens", [3, CHUNK_TOKENS, CHUNK_TOKENS + 1, 2 * CHUNK_TOKENS + 7])
def test_chunks_give_the_plain_loss_and_gradients(tokens: int) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20, bias=False)
    hidden = torch.randn(1, tokens + 5, 8, requires_grad=True)
    positions, targets = torch.randperm(tokens + 5)[:tokens], torch.randint(20, (tokens,))
    loss = summed_loss(hidden, positions, targets, head)
    (found,) = torch.autograd.grad(loss, hidden)
    plain = cross_entropy(head(hidden[0])[positions], targets, reduction="sum")
    (expected,) = torch.autograd.grad(plain, hidden)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found, expected)
