"""Our parts of blocks against transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.phi3.modeling_phi3 import Phi3Attention, Phi3RMSNorm

from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.blocks import PackedAttention, fused_norm, packed_blocks
from tests.steps.tune.float64 import check_close
from tests.steps.tune.models import CONFIGS, random_model
from tests.steps.tune.test_attention import packed_hidden

PHI3 = [name for name, config in CONFIGS.items() if config.model_type == "phi3"]


def ours(family: str) -> Any:
    with packed_blocks(CONFIGS[family].model_type):
        return random_model(family, SEGMENTED)


def passed(model: Any) -> list[torch.Tensor]:
    """Logits of packed documents, and the gradients of all weights."""
    logits = model.lm_head(packed_hidden(model))
    torch.autograd.backward(logits.square().sum())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 10
    return [logits.detach(), *gradients]


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("family", CONFIGS)
def test_logits_and_gradients_are_those_of_transformers(family: str) -> None:
    """With grouped heads, a window, and a head that is rotated in part."""
    model, theirs = ours(family), random_model(family, SEGMENTED)
    block, their_block = model.model.layers[0], theirs.model.layers[0]
    assert isinstance(block.mlp, type(their_block.mlp))
    assert type(block.mlp) is not type(their_block.mlp)
    check_close(passed(model), passed(theirs))


@pytest.mark.usefixtures("in_float64")
def test_a_gate_without_silu_is_left_to_transformers() -> None:
    model, theirs = ours("qwen2"), random_model("qwen2", SEGMENTED)
    for each in (model, theirs):
        for block in each.model.layers:
            block.mlp.config.hidden_act, block.mlp.act_fn = "gelu", torch.nn.GELU()
    check_close(passed(model), passed(theirs))


def of_norm(norm: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """Outputs and gradients of the input, as one vector."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 5, 48, generator=generator).mul(3).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is not torch.float64):
        output = norm(states)
        assert output.dtype == dtype
    output.double().square().sum().backward()
    assert states.grad is not None
    return torch.cat([output.detach().flatten(), states.grad.flatten()]).double()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)]
)
def test_the_fused_norm_is_that_of_transformers(dtype: torch.dtype, tolerance: float) -> None:
    """Theirs rounds to bfloat16 once more, before it multiplies by the weights."""
    theirs = Phi3RMSNorm(48, eps=1e-5).to(dtype)
    torch.nn.init.normal_(theirs.weight, generator=torch.Generator().manual_seed(1))
    expected = of_norm(theirs, dtype)
    found = of_norm(lambda states: fused_norm(states, theirs.weight, 1e-5), dtype)
    assert float((found - expected).norm() / expected.norm()) < tolerance


class _Launches(TorchDispatchMode):
    """Counts the kernels of a forward pass, and the bytes that each reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view and "detach" not in str(function) and "prim" not in str(function):
            self.names.append(function.name())
            tensors = [t for t in tree_leaves((args, result)) if isinstance(t, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


@pytest.mark.parametrize("family", ["phi3", "mistral", "qwen2"])
def test_a_norm_is_one_kernel_on_a_gpu(family: str) -> None:
    counted = []
    for model in (ours(family), random_model(family, SEGMENTED)):
        model.to(torch.bfloat16)
        with FakeTensorMode(allow_non_fake_inputs=True), _Launches() as launches:
            norm = model.model.layers[0].input_layernorm
            weight = torch.empty(32, dtype=torch.bfloat16, device="cuda")
            norm.weight = torch.nn.Parameter(weight, requires_grad=False)
            states = torch.empty(1, 64, 32, dtype=torch.bfloat16, device="cuda")
            launches.names.clear()
            launches.bytes = 0
            normed = norm(states)
            assert normed.dtype == torch.bfloat16
            counted.append((list(launches.names), launches.bytes))
    (fused, fused_bytes), (plain, plain_bytes) = counted
    assert fused == ["aten::_fused_rms_norm"]
    assert len(plain) >= 6
    assert fused_bytes < plain_bytes / 4


def test_models_that_are_made_later_have_transformers_own() -> None:
    assert len(PHI3) == 3
    ours(PHI3[0])
    later = random_model(PHI3[0], SEGMENTED)
    assert {type(block.self_attn) for block in later.model.layers} == {Phi3Attention}


def test_other_families_keep_their_attention() -> None:
    model = ours("qwen2")
    assert not any(isinstance(module, PackedAttention) for module in model.modules())
