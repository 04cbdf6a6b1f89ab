"""NEFTune's noise: as large for each document as its own length says, and in training only."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from argotune.steps.tune.evaluate import hidden_states, micro_batch_loss
from tests.steps.tune.models import Wrapped
from tests.steps.tune.test_extras import micro_batch

LENGTHS, ALPHA = (5, 40), 10.0


def embeddings(model: Any, noise_alpha: float | None) -> torch.Tensor:
    """What the first block gets, [tokens, width]."""
    seen: list[torch.Tensor] = []
    block = model.get_base_model().get_decoder().layers[0]

    def note(_: torch.nn.Module, inputs: tuple[torch.Tensor], options: dict[str, Any]) -> None:
        seen.append(inputs[0] if inputs else options["hidden_states"])

    hook = block.register_forward_pre_hook(note, with_kwargs=True)
    micro_batch_loss(model, micro_batch(LENGTHS), noise_alpha)
    hook.remove()
    return seen[0][0].detach()


def test_each_document_has_noise_of_its_own_length() -> None:
    model = Wrapped()
    torch.manual_seed(3)
    noise = embeddings(model, ALPHA) - embeddings(model, None)
    start = 0
    for length in LENGTHS:
        found = noise[start : start + length].abs()
        bound = ALPHA / math.sqrt(length * noise.shape[1])
        # The sum with the embedding is rounded.
        assert 0.9 * bound < found.max() <= bound * (1 + 1e-4)
        assert found.mean() == pytest.approx(bound / 2, rel=0.2)
        start += length


def test_the_same_seed_gives_the_same_noise_and_none_is_left_behind() -> None:
    model = Wrapped()
    before = hidden_states(model, micro_batch(LENGTHS))
    noisy = []
    for _ in range(2):
        torch.manual_seed(3)
        noisy.append(embeddings(model, ALPHA))
    assert torch.equal(*noisy)
    assert not torch.equal(noisy[0], embeddings(model, None))
    assert torch.equal(hidden_states(model, micro_batch(LENGTHS)), before)
