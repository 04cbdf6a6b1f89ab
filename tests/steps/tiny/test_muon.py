from __future__ import annotations

import pytest
import torch

from argotune.steps.tiny.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape), torch.float32, rounds=5))
    # The five rounds leave 0.68 to 1.12; rounding changes the last of seven digits.
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.3


def test_it_finds_a_linear_map() -> None:
    torch.manual_seed(0)
    wanted, found = torch.randn(6, 4), torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([found], lr=0.05, weight_decay=0.0, dtype=torch.float32)
    for _ in range(200):
        inputs = torch.randn(32, 4)
        torch.nn.functional.mse_loss(inputs @ found.T, inputs @ wanted.T).backward()
        optimizer.step()
        optimizer.zero_grad()
    # It comes to 0.012, and began at 1.
    assert float((found - wanted).detach().norm() / wanted.norm()) < 0.1
