"""The code of float32 in float64: two orders of the same sums then differ by 1e-14 and not by 1e-6,
while what a fault changes stays as large as it is."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from argotune.steps.causal_lm.device import Device
from argotune.steps.tune import run
from argotune.steps.tune.distributed import World
from argotune.steps.tune.launch import launch
from tests.tolerances import likely, worst

MODEL_TERMS = 1000
"""Of all sums on the longest way through a random model: two blocks of about 350, and the head."""

TOLERANCE = 1000 * worst(MODEL_TERMS)
"""2e-10 of the largest number. A thousand times, for what is relative to the sum of magnitudes gets
larger where terms cancel out, and where norms and Adam divide by small numbers."""

FLOAT32 = likely(MODEL_TERMS, torch.float32)
"""4e-5, for losses of a model that is loaded by code that has float32 only."""

DEVICE = Device(torch.device("cpu"), torch.float64, None)

R = TypeVar("R")


class _Float64(TorchDispatchMode):
    """What is asked for in float32 comes in float64: transformers has norms, softmax and rotary
    factors in float32, whatever the model's type is."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        # Of bytes read as numbers the type is what it is.
        if function is torch.ops.aten.view.dtype or function.namespace == "bitsandbytes":
            return function(*args, **(kwargs or {}))
        named = {name: _widened(given) for name, given in (kwargs or {}).items()}
        return function(*map(_widened, args), **named)


def _widened(given: Any) -> Any:
    return torch.float64 if given is torch.float32 else given


@contextlib.contextmanager
def in_float64(**options: Any) -> Iterator[None]:
    """While it lasts models, steps and the processes that they launch, with these options, compute
    in float64."""
    with pytest.MonkeyPatch.context() as patch, _default(torch.float64), _Float64():
        patch.setattr(run, "find_device", lambda rank: DEVICE)
        patch.setattr(run, "launch", functools.partial(_launch, **options))
        patch.setattr(bitsandbytes.functional, "quantize_4bit", _quantize_4bit)
        patch.setattr(bitsandbytes, "matmul_4bit", _matmul_4bit)
        yield


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _quantize_4bit(matrix: torch.Tensor, **options: Any) -> Any:
    """bitsandbytes knows no float64: 4-bit weights are made from float32, and read as float32."""
    with _disable_current_modes(), _default(torch.float32):
        return quantize_4bit(matrix.float(), **options)


def _matmul_4bit(
    states: torch.Tensor, matrix: torch.Tensor, quant_state: Any, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """For bitsandbytes' own reads memory that nobody wrote when it is given float64."""
    weight = dequantize_4bit(matrix, quant_state)
    return torch.nn.functional.linear(states, weight.to(states.dtype), bias)


def _launch(work: Callable[[World], R], processes: int, **options: Any) -> R:
    return launch(functools.partial(_work, work), processes, **options)


def _work(work: Callable[[World], R], world: World) -> R:
    """In a process that knows nothing of this one."""
    with in_float64():
        return work(world)


def check_close(found: Any, expected: Any) -> None:
    """Tensors of one structure are equal but for rounding in float64."""
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype == torch.float64
        largest = float(expected.detach().abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * largest)
        return
    assert len(found) == len(expected) > 0
    for key in expected if isinstance(expected, dict) else range(len(expected)):
        check_close(found[key], expected[key])
