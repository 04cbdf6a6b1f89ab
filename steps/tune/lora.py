"""PEFT's LoRA layers with one autograd function for the frozen product and the adapter's two.

PEFT makes B's product, scales it, adds it to the frozen layer's output, which it copies first where
that is 4-bit, and does as much in the backward pass: six more passes over tensors of the layer's
size, and a float32 copy of its input under autocast. Here the adapter is added within the matrix
product. Parameters, names and what is saved are PEFT's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig
from peft.tuners import lora

_ENDS_BLOCK = "argotune_ends_block"


def use_fused_layers(config: LoraConfig, blocks: Iterable[Any]) -> None:
    """Have `get_peft_model` make this module's layers: PEFT's own way for layers of others.

    Each block's last layer is marked as the last: when a block is recomputed, its output is not
    needed, because that stops at the last tensor that is kept, and what follows is a plain sum.
    """
    config._register_custom_module({Linear4bit: FusedLinear4bit, torch.nn.Linear: FusedLinear})
    for block in blocks:
        setattr(block.mlp.down_proj, _ENDS_BLOCK, True)


class _Fused:
    def forward(self, states: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """[..., inputs] to [..., outputs]; what is more than one plain adapter is left to PEFT."""
        if not args and not options and _is_plain(self):
            return _apply(self, states)
        output: torch.Tensor = super().forward(states, *args, **options)  # type: ignore[misc]
        return output


class FusedLinear(_Fused, lora.Linear):  # type: ignore[misc]
    """LoRA on a frozen matrix."""


class FusedLinear4bit(_Fused, lora.Linear4bit):  # type: ignore[misc]
    """LoRA on a frozen matrix of 4 bits."""


def _is_plain(layer: Any) -> bool:
    """One adapter that is on, without dropout: what is left between the products is a sum."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    dropout = layer.lora_dropout[layer.active_adapters[0]]
    return not layer.training or type(dropout) is torch.nn.Identity


def _apply(layer: Any, states: torch.Tensor) -> torch.Tensor:
    (name,) = layer.active_adapters
    output: torch.Tensor = _LoraProduct.apply(
        states,
        layer.lora_A[name].weight,
        layer.lora_B[name].weight,
        layer.base_layer,
        layer.scaling[name],
        getattr(layer.base_layer, _ENDS_BLOCK, False) and _is_recomputation(),
    )
    return output


def _is_recomputation() -> bool:
    """Whether this forward pass runs within a backward pass, as checkpointing has it."""
    return bool(torch._C._current_graph_task_id() >= 0)


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        states: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        base: torch.nn.Module,
        scaling: float,
        unused: bool,
    ) -> torch.Tensor:
        """base(states) + scaling B A states; any numbers in its shape if the output is unused."""
        output = _unused_output(base, states) if unused else base(states)
        # Under autocast the adapter is float32 and multiplied as what it is added to.
        flat = states.reshape(-1, states.shape[-1]).to(output.dtype)
        a, b = a.to(output.dtype), b.to(output.dtype)
        reduced = flat @ a.t()
        if not unused:
            output.view(-1, output.shape[-1]).addmm_(reduced, b.t(), alpha=scaling)
        context.save_for_backward(flat, reduced, a, b)
        context.base, context.scaling, context.input_dtype = base, scaling, states.dtype
        return output

    @staticmethod
    def backward(
        context: Any, *output_gradients: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, None, None, None]:
        flat, reduced, a, b = context.saved_tensors
        (gradient,) = output_gradients
        shape = gradient.shape[:-1]
        gradient = gradient.reshape(-1, gradient.shape[-1]).to(flat.dtype)
        reduced_gradient = (gradient @ b).mul_(context.scaling)
        states_gradient = None
        if context.needs_input_grad[0]:
            states_gradient = gradient @ _frozen_matrix(context.base, gradient.dtype)
            states_gradient.addmm_(reduced_gradient, a)
            states_gradient = states_gradient.view(*shape, -1).to(context.input_dtype)
        a_gradient = reduced_gradient.t() @ flat
        b_gradient = (gradient.t() @ reduced).mul_(context.scaling)
        return states_gradient, a_gradient, b_gradient, None, None, None


def _unused_output(base: Any, states: torch.Tensor) -> torch.Tensor:
    """One number in the shape and type of what `base` would make."""
    kind, dtype = states.device.type, states.dtype
    if torch.is_autocast_enabled(kind) and not isinstance(base, Linear4bit):
        dtype = torch.get_autocast_dtype(kind)
    return states.new_empty((), dtype=dtype).expand(*states.shape[:-1], base.out_features)


def _frozen_matrix(base: Any, dtype: torch.dtype) -> torch.Tensor:
    """[outputs, inputs]"""
    if isinstance(base, Linear4bit):
        # Sharding puts a plain parameter in the place of the one that had the scales.
        state = getattr(base.weight, "quant_state", None) or base.quant_state
        matrix: torch.Tensor = dequantize_4bit(base.weight, state)
        return matrix.to(dtype)
    weight: torch.Tensor = base.weight
    return weight.to(dtype)
