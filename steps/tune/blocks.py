"""The parts of the models' blocks that transformers computes in more passes than they need.

Phi-3 slices query, key and value out of one tensor, and gate and up out of another. Each slice's
gradient is a zero tensor of the full size, or is copied into one, and heads are rotated in parts
and concatenated again. That takes a sixth of a training step on a CPU.

A norm is six kernels and two float32 copies on a GPU, half of all traffic beside the matrix
products; torch has one kernel for it. The gated product is one autograd function, which keeps its
two inputs and nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import rms_norm, silu
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


@contextmanager
def packed_blocks(family: str) -> Iterator[None]:
    """Let transformers create models of a model_type with this module's parts meanwhile.

    A family that is not in PARTS keeps transformers' own. transformers' `register_patch_mapping` is
    not used: it searches all names of all modules, 0.7 s per model, and some of its changes remain.
    """
    parts = PARTS.get(family)
    if parts is None:
        yield
        return
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    theirs = {name: getattr(module, name) for name in parts}
    vars(module).update({name: _instead_of(theirs[name], part) for name, part in parts.items()})
    try:
        yield
    finally:
        vars(module).update(theirs)


def _instead_of(theirs: type, part: type) -> type:
    """A class of transformers with the forward pass of a part of this module."""
    return type(f"{part.__name__}{theirs.__name__}", (part, theirs), {"__module__": __name__})


class FusedNorm(torch.nn.Module):
    """An RMSNorm of transformers, by torch's kernel on a GPU."""

    weight: torch.nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[..., width] to the same."""
        # torch has no such kernel for the CPU, where its way is a quarter slower than theirs.
        if hidden_states.device.type != "cuda":
            output: torch.Tensor = super().forward(hidden_states)
            return output
        return fused_norm(hidden_states, self.weight, self.variance_epsilon)


def fused_norm(hidden_states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMSNorm over the last dimension in the type of `hidden_states`, computed in float32."""
    # Autocast would make it float32, with a copy of its input and an output of twice the size.
    with torch.autocast(hidden_states.device.type, enabled=False):
        return rms_norm(hidden_states, weight.shape, weight.to(hidden_states.dtype), epsilon)


class GatedMLP(torch.nn.Module):
    """An MLP of transformers with two projections and SiLU as the gate's activation."""

    config: Any
    gate_proj: torch.nn.Module
    up_proj: torch.nn.Module
    down_proj: torch.nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, tokens, width] to [1, tokens, width]."""
        if self.config.hidden_act != "silu":
            plain: torch.Tensor = super().forward(x)
            return plain
        output: torch.Tensor = self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x)))
        return output


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """silu(gate) * up, all of one shape."""
        context.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(
        context: Any, *output_gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        (gate, up), (gradient,) = context.saved_tensors, output_gradients
        up_gradient = silu(gate).mul_(gradient)
        return torch.ops.aten.silu_backward(gradient * up, gate), up_gradient


class PackedAttention(torch.nn.Module):
    """Phi3Attention without a cache, which training does not use."""

    config: Any
    qkv_proj: torch.nn.Module
    o_proj: torch.nn.Module
    num_key_value_heads: int
    attention_dropout: float
    scaling: float

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """[1, tokens, width] to [1, tokens, width]."""
        attention: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        query, key, value = _SplitAndRotate.apply(
            self.qkv_proj(hidden_states),
            *position_embeddings,
            self.config.num_attention_heads,
            self.num_key_value_heads,
        )
        mixed, _ = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=getattr(self.config, "sliding_window", None),
            **options,
        )
        return self.o_proj(mixed.reshape(*hidden_states.shape[:-1], -1)), None


class _SplitAndRotate(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        projected: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        heads: int,
        key_heads: int,
    ) -> tuple[torch.Tensor, ...]:
        """[1, tokens, (heads + 2 key_heads) x width] to query, key and value.

        Each of these is [1, its heads, tokens, width].
        """
        context.save_for_backward(cos, sin)
        context.sizes = (heads, key_heads, key_heads)
        by_head = projected.view(projected.shape[1], sum(context.sizes), -1)
        made = torch.empty_like(by_head)
        turned = heads + key_heads
        _rotate(by_head[:, :turned], cos, sin, made[:, :turned])
        made[:, turned:] = by_head[:, turned:]
        return tuple(part.transpose(0, 1)[None] for part in torch.split(made, context.sizes, dim=1))

    @staticmethod
    def backward(
        context: Any, *output_gradients: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None, None]:
        cos, sin = context.saved_tensors
        query, key, value = (gradient[0].transpose(0, 1) for gradient in output_gradients)
        tokens, _, width = query.shape
        made = query.new_empty(tokens, sum(context.sizes), width)
        parts = torch.split(made, context.sizes, dim=1)
        # The gradient of a rotation is the inverse rotation.
        back = -sin
        _rotate(query, cos, back, parts[0])
        _rotate(key, cos, back, parts[1])
        parts[2].copy_(value)
        return made.flatten(1)[None], None, None, None, None


class PackedMLP(torch.nn.Module):
    """An MLP of transformers with one projection to gate and up, and SiLU as the activation."""

    config: Any
    gate_up_proj: torch.nn.Module
    down_proj: torch.nn.Module

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[1, tokens, width] to [1, tokens, width]."""
        if self.config.hidden_act != "silu":
            plain: torch.Tensor = super().forward(hidden_states)
            return plain
        output: torch.Tensor = self.down_proj(_GatedUp.apply(self.gate_up_proj(hidden_states)))
        return output


class _GatedUp(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, projected: torch.Tensor) -> torch.Tensor:
        """silu(gate) * up: [..., 2 inner] (gate, then up) to [..., inner]."""
        context.save_for_backward(projected)
        gate, up = projected.chunk(2, dim=-1)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(context: Any, *output_gradients: torch.Tensor) -> torch.Tensor:
        (projected,), (gradient,) = context.saved_tensors, output_gradients
        gate, up = projected.chunk(2, dim=-1)
        made = torch.empty_like(projected)
        gate_gradient, up_gradient = made.chunk(2, dim=-1)
        torch.mul(gradient, silu(gate), out=up_gradient)
        torch.ops.aten.silu_backward(gradient * up, gate, grad_input=gate_gradient)
        return made


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, made: torch.Tensor) -> None:
    """Rotate `states` [tokens, heads, width] into `made`.

    cos and sin are [1, tokens, rotated width], with equal halves. Values beyond the rotated width
    are copied.
    """
    half = cos.shape[-1] // 2
    cos, sin = (each[0, :, None, :half].to(states.dtype) for each in (cos, sin))
    first, second, rest = states.tensor_split((half, 2 * half), dim=-1)
    made_first, made_second, made_rest = made.tensor_split((half, 2 * half), dim=-1)
    torch.mul(first, cos, out=made_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=made_second).addcmul_(first, sin)
    made_rest.copy_(rest)


PARTS: Mapping[str, Mapping[str, type[torch.nn.Module]]] = {
    "glm4": {"Glm4MLP": PackedMLP, "Glm4RMSNorm": FusedNorm},
    "granite": {"GraniteMLP": GatedMLP, "GraniteRMSNorm": FusedNorm},
    "llama": {"LlamaMLP": GatedMLP, "LlamaRMSNorm": FusedNorm},
    "ministral": {"MinistralMLP": GatedMLP, "MinistralRMSNorm": FusedNorm},
    "ministral3": {"Ministral3MLP": GatedMLP, "Ministral3RMSNorm": FusedNorm},
    "mistral": {"MistralMLP": GatedMLP, "MistralRMSNorm": FusedNorm},
    "olmo2": {"Olmo2MLP": GatedMLP, "Olmo2RMSNorm": FusedNorm},
    "phi3": {
        "Phi3Attention": PackedAttention,
        "Phi3MLP": PackedMLP,
        "Phi3RMSNorm": FusedNorm,
    },
    "qwen2": {"Qwen2MLP": GatedMLP, "Qwen2RMSNorm": FusedNorm},
    "qwen2_moe": {"Qwen2MoeMLP": GatedMLP, "Qwen2MoeRMSNorm": FusedNorm},
    "qwen3": {"Qwen3MLP": GatedMLP, "Qwen3RMSNorm": FusedNorm},
    "qwen3_moe": {"Qwen3MoeRMSNorm": FusedNorm},
    "smollm3": {"SmolLM3MLP": GatedMLP, "SmolLM3RMSNorm": FusedNorm},
}
"""The classes of each family's modeling file that a part stands in for. Gemma has none: its norms
multiply by 1 + weight, and its gate is a GELU."""
