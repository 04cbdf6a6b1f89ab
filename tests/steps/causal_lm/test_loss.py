from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from argotune.steps.causal_lm.head import Head
from argotune.steps.causal_lm.loss import CHUNK_TOKENS, summed_loss
from tests.steps.tune.float64 import check_close
from tests.tolerances import likely, worst


def chunked_and_plain(
    tokens: int, *, frozen: bool
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Loss, and gradient of the hidden states, in chunks and of all logits at once."""
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20, bias=False).requires_grad_(not frozen)
    hidden = torch.randn(1, tokens + 5, 8, requires_grad=True)
    positions, targets = torch.randperm(tokens + 5)[:tokens], torch.randint(20, (tokens,))
    loss = summed_loss(hidden, positions, targets, Head(head))
    plain = cross_entropy(head(hidden[0])[positions], targets, reduction="sum")
    found, expected = ([each, *torch.autograd.grad(each, hidden)] for each in (loss, plain))
    return found, expected


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("tokens", [3, CHUNK_TOKENS, CHUNK_TOKENS + 1, 2 * CHUNK_TOKENS + 7])
def test_chunks_give_the_plain_loss_and_gradients(tokens: int, frozen: bool) -> None:
    check_close(*chunked_and_plain(tokens, frozen=frozen))


def test_in_float32_too_where_the_softmax_is_made_in_the_buffer_of_the_logits() -> None:
    tokens = 2 * CHUNK_TOKENS + 7
    for found, expected in zip(*chunked_and_plain(tokens, frozen=True), strict=True):
        most = likely(tokens, torch.float32) * expected.abs().max()
        assert (found - expected).abs().max() < most


def test_a_frozen_head_in_bfloat16_gives_the_gradients_of_the_plain_loss_under_autocast() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 40, bias=False).to(torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(1, CHUNK_TOKENS + 9, 16, requires_grad=True)
    positions = torch.arange(CHUNK_TOKENS + 8)
    targets = torch.randint(40, (CHUNK_TOKENS + 8,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = summed_loss(hidden, positions, targets, Head(head))
        plain = cross_entropy(head(hidden[0, positions]).float(), targets, reduction="sum")
    (found,) = torch.autograd.grad(loss / 3, hidden)
    (expected,) = torch.autograd.grad(plain / 3, hidden)
    # Softmax, product and gradient are rounded to bfloat16; over the labels such errors cancel out.
    rounding = worst(3, torch.bfloat16)
    assert (loss - plain).abs() < rounding / len(targets) ** 0.5 * plain
    assert (found - expected).norm() < rounding * expected.norm()


@pytest.mark.usefixtures("in_float64")
def test_a_head_that_learns_itself_gets_its_gradient() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20, bias=False)
    hidden = torch.randn(1, 30, 8)
    positions, targets = torch.arange(29), torch.randint(20, (29,))
    loss = summed_loss(hidden, positions, targets, Head(head))
    plain = cross_entropy(head(hidden[0])[positions], targets, reduction="sum")
    (found,) = torch.autograd.grad(loss, head.weight)
    (expected,) = torch.autograd.grad(plain, head.weight)
    check_close(found, expected)
