"""Each part that stands in for a library's: numbers against float64, time beside theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig
from peft.tuners import lora
from torch.nn.functional import cross_entropy
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm

from argotune.steps.causal_lm.head import Head
from argotune.steps.causal_lm.loss import summed_loss
from argotune.steps.tune.attention import segmented_attention
from argotune.steps.tune.blocks import fused_norm
from argotune.steps.tune.lora import FusedLinear4bit
from argotune.steps.tune.varlen import VARLEN, attention_for, varlen_attention
from tests.gpu.records import Records, this_device

_ROUNDING = 2e-2
"""bfloat16 has 8 bits, and sums in another order differ by up to a few percent."""

Attention = Callable[..., tuple[torch.Tensor, None]]


def kernels(records: Records) -> None:
    """4-bit weights, the adapter's layer, the norm, the loss and attention of one device."""
    torch.manual_seed(0)
    _check_layers(records)
    _check_norm(records)
    _check_loss(records)
    _check_attention(records)


def _device() -> torch.device:
    return this_device().torch_device


def _check_layers(records: Records) -> None:
    device = _device()
    outputs, inputs, tokens = (128, 64, 32) if records.dry else (16384, 3072, 8192)
    weights = torch.randn(outputs, inputs, device=device, dtype=torch.bfloat16)
    packed, state = quantize_4bit(weights, compress_statistics=True, quant_type="nf4")
    there = dequantize_4bit(packed.cpu(), _state_on_cpu(state))
    frozen = dequantize_4bit(packed, state)
    records.check_apart("nf4 against the CPU's of the same bytes", frozen.cpu(), there, 1e-6)
    records.add("nf4 dequantised", ms=records.milliseconds(lambda: dequantize_4bit(packed, state)))
    states = torch.randn(1, tokens, inputs, device=device, dtype=torch.bfloat16, requires_grad=True)
    gradient = torch.randn(1, tokens, outputs, device=device, dtype=torch.bfloat16)
    for name, kind in (("ours", FusedLinear4bit), ("PEFT's", lora.Linear4bit)):
        layer = _layer(kind, weights)
        for found, expected, part in zip(
            _passes(layer, states, gradient),
            _exact(layer, frozen, states, gradient),
            ("output", "states' gradient", "A's gradient", "B's gradient"),
            strict=True,
        ):
            records.check_apart(f"QLoRA layer, {name}, {part}", found, expected, _ROUNDING)
        passes = _caller(_passes, layer, states, gradient)
        records.add(f"QLoRA layer, {name}", tokens=tokens, ms=records.milliseconds(passes))


def _state_on_cpu(state: Any) -> Any:
    """The scales of a 4-bit matrix, copied to the CPU."""
    values = state.as_dict(packed=True).items()
    kept = {key: value.cpu() if hasattr(value, "cpu") else value for key, value in values}
    return type(state).from_dict(kept, device=torch.device("cpu"))


def _layer(kind: Any, weights: torch.Tensor) -> Any:
    outputs, inputs = weights.shape
    base = Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    base.weight.data = weights.cpu()
    base.support_avx512bf16_for_cpu = False
    base = base.to(weights.device).requires_grad_(False)
    config = LoraConfig(r=16, lora_alpha=32)
    layer = kind(base, "default", config=config, r=16, lora_alpha=32).to(weights.device)
    generator = torch.Generator().manual_seed(1)
    for part in (layer.lora_A["default"], layer.lora_B["default"]):
        values = 0.02 * torch.randn(part.weight.shape, generator=generator)
        part.weight = torch.nn.Parameter(values.to(weights.device))
    return layer


def _passes(layer: Any, states: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    with this_device().precision():
        output = layer(states)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    return [output.detach(), *torch.autograd.grad(output, [states, *weights], gradient)]


def _exact(
    layer: Any, frozen: torch.Tensor, states: torch.Tensor, gradient: torch.Tensor
) -> list[torch.Tensor]:
    a, b = (part["default"].weight.detach().double() for part in (layer.lora_A, layer.lora_B))
    w, x, g = frozen.double(), states.detach()[0].double(), gradient[0].double()
    scaling = layer.scaling["default"]
    return [
        x @ w.T + scaling * (x @ a.T) @ b.T,
        g @ w + scaling * (g @ b) @ a,
        scaling * (g @ b).T @ x,
        scaling * g.T @ (x @ a.T),
    ]


def _check_norm(records: Records) -> None:
    tokens, width = (32, 64) if records.dry else (8192, 3072)
    device = _device()
    theirs = Phi3RMSNorm(width, eps=1e-5).to(device, torch.bfloat16)
    theirs.weight.requires_grad_(False)
    states = torch.randn(1, tokens, width, device=device, dtype=torch.bfloat16, requires_grad=True)

    def both(norm: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with this_device().precision():
            output = norm(states)
        (gradient,) = torch.autograd.grad(output.float().square().sum(), states)
        return torch.cat([output.detach(), gradient])

    def ours(hidden: torch.Tensor) -> torch.Tensor:
        return fused_norm(hidden, theirs.weight, theirs.variance_epsilon)

    records.check_apart("norm against transformers'", both(ours), both(theirs), _ROUNDING)
    for name, norm in (("ours", ours), ("transformers'", theirs)):
        records.add(f"norm, {name}", ms=records.milliseconds(_caller(both, norm)))


def _check_loss(records: Records) -> None:
    device, dry = _device(), records.dry
    tokens, width = (64, 32) if dry else (8192, 3072)
    for vocabulary in (300,) if dry else (32064, 152064):
        head = torch.nn.Linear(width, vocabulary, bias=False, device=device, dtype=torch.bfloat16)
        head.requires_grad_(False)
        states = torch.randn(1, tokens, width, device=device, dtype=torch.bfloat16)
        states.requires_grad_()
        places = torch.arange(tokens, device=device)
        targets = torch.randint(0, vocabulary, (tokens,), device=device)

        def gradient(
            states: torch.Tensor = states,
            places: torch.Tensor = places,
            targets: torch.Tensor = targets,
            head: torch.nn.Linear = head,
        ) -> torch.Tensor:
            with this_device().precision():
                total = summed_loss(states, places, targets, Head(head))
            return torch.autograd.grad(total, states)[0][0]

        few = min(512, tokens)
        exact = states.detach()[0, :few].double().requires_grad_()
        logits = exact @ head.weight.double().T
        cross_entropy(logits, targets[:few], reduction="sum").backward()
        assert exact.grad is not None
        what = f"loss, vocabulary of {vocabulary}"
        records.check_apart(f"{what}, gradient", gradient()[:few], exact.grad, _ROUNDING)
        records.add(what, tokens=tokens, ms=records.milliseconds(gradient))


def _check_attention(records: Records) -> None:
    device = _device()
    chosen = attention_for(device)
    records.add("attention", chosen=chosen)
    shapes: dict[str, tuple[int, int, int, int | None]] = {
        "phi-3-mini": (32, 32, 96, 2047),
        "qwen2.5-7b": (28, 4, 128, None),
        "mistral-7b": (32, 8, 128, None),
    }
    lengths: Sequence[int] = (4096, 1000, 700, 350, 350, 200, 200, 150, 100, 64, 37, 945)
    if records.dry:
        shapes, lengths = {"tiny": (4, 2, 16, 10)}, (8, 20, 1)
    for name, (heads, key_heads, width, window) in shapes.items():
        states = [
            torch.randn(1, sum(lengths), each, width, device=device, dtype=torch.bfloat16)
            .transpose(1, 2)
            .requires_grad_()
            for each in (heads, key_heads, key_heads)
        ]

        def passes(
            attention: Attention,
            states: list[torch.Tensor] = states,
            width: int = width,
            window: int | None = window,
        ) -> torch.Tensor:
            output, _ = attention(
                torch.nn.Module(),
                *states,
                None,
                scaling=width**-0.5,
                sliding_window=window,
                document_lengths=lengths,
            )
            found = torch.autograd.grad(output.float().square().sum(), states)
            return torch.cat([each.detach().float().flatten() for each in (output, *found)])

        single = passes(segmented_attention)
        what = f"attention of {name}"
        ms = records.milliseconds(_caller(passes, segmented_attention))
        records.add(f"{what}, a call per document", ms=ms)
        if chosen == VARLEN:
            # With the strides that blocks give it: tokens before heads in memory.
            records.check_apart(f"{what}, one kernel", passes(varlen_attention), single, _ROUNDING)
            ms = records.milliseconds(_caller(passes, varlen_attention))
            records.add(f"{what}, one kernel", ms=ms)


def _caller(work: Callable[..., object], *args: Any) -> Callable[[], object]:
    return lambda: work(*args)
