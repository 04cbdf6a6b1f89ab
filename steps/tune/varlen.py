"""One kernel for all documents of a pack, on CUDA: torch's variable-length attention.

It needs neither the flash-attn package nor a T x T mask, and supports sliding windows. A test on
this GPU checks once that its results are right before it is used.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from argotune.steps.common import log
from argotune.steps.tune.attention import SEGMENTED, segmented_attention

VARLEN = "argotune_varlen"
"""Name for `attn_implementation`, like SEGMENTED."""

_HALVES = (torch.float16, torch.bfloat16)
_LENGTHS, _HEADS, _KEY_HEADS, _WIDTH, _WINDOW = (64, 1, 37, 90), 4, 2, 64, 20
"""Sizes of the test: more than one block of the kernel, grouped heads, a window that matters."""

_logger = logging.getLogger(__name__)


def attention_for(device: torch.device) -> str:
    """The `attn_implementation` for packs on a device."""
    if device.type != "cuda":
        return SEGMENTED
    problem = _kernel_problem(device)
    if problem is None:
        return VARLEN
    log.warn(_logger, "no_varlen_attention", reason=problem, effect="one kernel per document")
    return SEGMENTED


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    *,
    document_lengths: Sequence[int],
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Like segmented_attention, which it calls for what the kernel lacks: fp32, dropout, a cap."""
    if dropout or softcap is not None or query.dtype not in _HALVES:
        return segmented_attention(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout,
            scaling,
            sliding_window,
            softcap,
            document_lengths=document_lengths,
            **options,
        )
    lengths = tuple(document_lengths)
    starts = _starts(lengths, query.device)
    # Number of tokens to the left and right to which a token attends; -1: all.
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    output: Any = varlen_attn(
        # The kernel takes any strides of tokens and heads. A squeeze's gradient is a view, that of
        # `query[0]` a copy into zeros.
        query.squeeze(0).transpose(0, 1),
        key.squeeze(0).transpose(0, 1),
        value.squeeze(0).transpose(0, 1),
        starts,
        starts,
        max(lengths),
        max(lengths),
        scale=scaling,
        window_size=window,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output[None], None


AttentionInterface.register(VARLEN, varlen_attention)


@functools.lru_cache(maxsize=8)
def _starts(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Starts of the documents, and the end; copied to the device once for all layers of a step."""
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    # Creating the tensor on the device would wait for all pending work there.
    return starts.to(device, non_blocking=True)


def _kernel_problem(device: torch.device) -> str | None:
    """The error of outputs or gradients in bfloat16 on this device; None if they are right."""
    for window in (None, _WINDOW):
        try:
            found = _outputs_and_gradients(varlen_attention, device, window)
        # TypeError: torch before 2.12 has other arguments.
        except (RuntimeError, TypeError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        expected = _outputs_and_gradients(segmented_attention, device, window)
        error_share = float((found - expected).norm() / expected.norm())
        # bfloat16 has 8 bits, so sums in another order differ by up to a few percent.
        if not error_share < 0.02:
            return f"it is {error_share:.3g} off with a window of {window}"
    return None


def _outputs_and_gradients(
    attention: Any, device: torch.device, window: int | None
) -> torch.Tensor:
    """All numbers of one forward and backward pass, as one vector."""
    # Its own generator, so that the test does not change the run's random numbers.
    generator = torch.Generator().manual_seed(0)
    states = [
        torch.randn(1, heads, sum(_LENGTHS), _WIDTH, generator=generator)
        .to(device, torch.bfloat16)
        .requires_grad_()
        for heads in (_HEADS, _KEY_HEADS, _KEY_HEADS)
    ]
    with torch.enable_grad():
        output, _ = attention(
            torch.nn.Module(),
            *states,
            None,
            scaling=_WIDTH**-0.5,
            sliding_window=window,
            document_lengths=_LENGTHS,
        )
        gradients = torch.autograd.grad(output.float().square().sum(), states)
    return torch.cat([tensor.detach().float().flatten() for tensor in (output, *gradients)])
