"""PEFT's LoRA layers with one autograd function for the frozen product and the adapter's two.

PEFT computes the adapter's product, scales it and adds it to the frozen layer's output (of which it
makes a copy if the layer is 4-bit), and the same in the backward pass. That takes six more passes
over tensors of the layer's size, and a float32 copy of its input under autocast. Here the adapter
is added within the matrix product. Parameters, names and saved files are PEFT's.
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
_PLAIN_PARTS = frozenset(
    {
        "self_attn",
        "mlp",
        "input_layernorm",
        "post_attention_layernorm",
        "resid_attn_dropout",
        "resid_mlp_dropout",
    }
)
"""Parts of a block of which none computes with the MLP's output but its sum. Norms of that output,
as Gemma, GLM and OLMo have them, keep it for their gradients."""


def use_fused_layers(config: LoraConfig, blocks: Iterable[Any]) -> None:
    """Let `get_peft_model` create this module's layers, through PEFT's hook for custom layers.

    The last layer of a block is marked where only a plain sum follows it: then its output is unused
    when the block is recomputed, because recomputation stops at the last saved tensor.
    """
    config._register_custom_module({Linear4bit: FusedLinear4bit, torch.nn.Linear: FusedLinear})
    for block in blocks:
        parts = {name for name, _ in block.named_children()}
        if parts <= _PLAIN_PARTS and hasattr(block.mlp, "down_proj"):
            setattr(block.mlp.down_proj, _ENDS_BLOCK, True)


class _Fused:
    def forward(self, states: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """[..., inputs] to [..., outputs]; PEFT's own code handles all but one plain adapter."""
        if not args and not options and _is_plain(self):
            return _apply(self, states)
        output: torch.Tensor = super().forward(states, *args, **options)  # type: ignore[misc]
        return output


class FusedLinear(_Fused, lora.Linear):  # type: ignore[misc]
    """LoRA on a frozen matrix."""


class FusedLinear4bit(_Fused, lora.Linear4bit):  # type: ignore[misc]
    """LoRA on a frozen 4-bit matrix."""


def _is_plain(layer: Any) -> bool:
    """Whether the layer has one active adapter without dropout, so that its output is a sum.

    That of a variant, such as DoRA, is not.
    """
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    if layer.lora_variant:
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
    """Whether this forward pass runs within a backward pass, as in activation checkpointing."""
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
        """base(states) + scaling B A states; arbitrary values if the output is unused."""
        output = _unused_output(base, states) if unused else base(states)
        # Under autocast the float32 adapter is multiplied in the type of the base's output.
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
    """A tensor with the shape and type of the base's output, and one value for all elements."""
    kind, dtype = states.device.type, states.dtype
    if torch.is_autocast_enabled(kind) and not isinstance(base, Linear4bit):
        dtype = torch.get_autocast_dtype(kind)
    return states.new_empty((), dtype=dtype).expand(*states.shape[:-1], base.out_features)


def _frozen_matrix(base: Any, dtype: torch.dtype) -> torch.Tensor:
    """The frozen weights, dequantized if they are 4-bit, [outputs, inputs]."""
    if isinstance(base, Linear4bit):
        # Sharding replaces the parameter that has the scales by a plain one.
        state = getattr(base.weight, "quant_state", None) or base.quant_state
        matrix: torch.Tensor = dequantize_4bit(base.weight, state)
        return matrix.to(dtype)
    weight: torch.Tensor = base.weight
    return weight.to(dtype)
