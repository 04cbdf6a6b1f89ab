"""The counting itself, on operations whose work is known."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from argotune.presets.loader import model_preset
from tests.bench.tune.counts import Counted, count


def test_bytes_and_operations_are_those_of_what_is_computed() -> None:
    with FakeTensorMode(), Counted((2, 2)) as counted:
        states = torch.ones(4, 8, dtype=torch.bfloat16)
        weight = torch.ones(16, 8, dtype=torch.bfloat16)
        made = states @ weight.t()
        made.view(-1).add_(1)
        torch.mul(made, made, out=torch.empty_like(made))
    assert counted.operations == 2 * 4 * 8 * 16
    # No views and no room that is only made; what is written over is read too, `out` is not.
    assert dict(counted.launches) == {"ones": 2, "mm": 1, "add_": 1, "mul": 1}
    assert counted.moved["add_"] == 2 * made.nbytes
    assert counted.moved["mul"] == 3 * made.nbytes
    assert counted.work.other_bytes == states.nbytes + weight.nbytes + 5 * made.nbytes


def test_our_blocks_move_less_than_a_third_in_fewer_launches() -> None:
    preset = model_preset("phi-3-mini-4k-instruct")
    plain, ours = (count(preset, 8192, ours=each) for each in (False, True))
    assert ours.other_bytes < 0.33 * plain.other_bytes
    assert ours.launches < 0.6 * plain.launches
    # The same products, but for the whole logits' in a backward pass of its own.
    assert ours.product_operations < 1.01 * plain.product_operations
