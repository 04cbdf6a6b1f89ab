"""The parts of the models' blocks that transformers computes in more passes than they need.

Phi-3 slices query, key and value out of one tensor, and gate and up out of another. Each slice's
gradient is a zero tensor of the full size, or is copied into one, and heads are rotated in parts
and concatenated again. That takes a sixth of a training step on a CPU.

A norm is six kernels and two float32 copies on a GPU, half of all traffic beside the matrix
products; torch has one kernel for it. The gated product is one autograd function, which keeps its
two inputs and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import rms_norm, silu
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.mistral import modeling_mistral
from transformers.models.mistral.modeling_mistral import MistralMLP, MistralRMSNorm
from transformers.models.phi3 import modeling_phi3
from transformers.models.phi3.modeling_phi3 import Phi3Attention, Phi3MLP, Phi3RMSNorm
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm


@contextmanager
def packed_blocks() -> Iterator[None]:
    """Let transformers create models with this module's classes while the block runs.

    transformers' `register_patch_mapping` is not used: it searches all names of all modules, 0.7 s
    per model, and some of its changes remain.
    """
    theirs = {name: getattr(module, name) for module, ours in _OURS.items() for name in ours}
    for module, ours in _OURS.items():
        vars(module).update(ours)
    try:
        yield
    finally:
        for module, ours in _OURS.items():
            vars(module).update({name: theirs[name] for name in ours})


class _FusedNorm(torch.nn.Module):
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


class FusedPhi3RMSNorm(_FusedNorm, Phi3RMSNorm):
    """Phi3RMSNorm by torch's kernel."""


class FusedMistralRMSNorm(_FusedNorm, MistralRMSNorm):
    """MistralRMSNorm by torch's kernel."""


class FusedQwen2RMSNorm(_FusedNorm, Qwen2RMSNorm):
    """Qwen2RMSNorm by torch's kernel."""


class _GatedMLP(torch.nn.Module):
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


class GatedMistralMLP(_GatedMLP, MistralMLP):  # type: ignore[misc]
    """MistralMLP with the gated product as one function."""


class GatedQwen2MLP(_GatedMLP, Qwen2MLP):  # type: ignore[misc]
    """Qwen2MLP with the gated product as one function."""


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


class PackedAttention(Phi3Attention):
    """Phi3Attention without cache and mask, which training on packs does not use."""

    # The base's annotation has three results and only the options of flash attention.
    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: None = None,
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
            None,
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


class PackedMLP(Phi3MLP):
    """Phi3MLP with SiLU as the gate's activation, as in all models of the family."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[1, tokens, width] to [1, tokens, width]."""
        if self.config.hidden_act != "silu":
            return super().forward(hidden_states)
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


_OURS: dict[Any, dict[str, type[torch.nn.Module]]] = {
    modeling_phi3: {
        Phi3Attention.__name__: PackedAttention,
        Phi3MLP.__name__: PackedMLP,
        Phi3RMSNorm.__name__: FusedPhi3RMSNorm,
    },
    modeling_mistral: {
        MistralMLP.__name__: GatedMistralMLP,
        MistralRMSNorm.__name__: FusedMistralRMSNorm,
    },
    modeling_qwen2: {
        Qwen2MLP.__name__: GatedQwen2MLP,
        Qwen2RMSNorm.__name__: FusedQwen2RMSNorm,
    },
}
"""transformers' modules of models: the names there, and the classes that stand in for theirs."""
