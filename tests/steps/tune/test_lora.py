"""Our LoRA layers against PEFT's own: the same outputs and gradients, with less kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch.autograd.graph import saved_tensors_hooks

from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.evaluate import hidden_states
from argotune.steps.tune.load import recompute_activations
from argotune.steps.tune.lora import (
    FusedLinear,
    FusedLinear4bit,
    use_fused_layers,
)
from tests.steps.tune.float64 import check_close
from tests.steps.tune.models import random_model
from tests.steps.tune.test_extras import micro_batch
from tests.tolerances import worst

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

INPUTS, OUTPUTS, RANK, TOKENS = 64, 192, 4, 24


class Net(torch.nn.Module):
    """Two layers, so that gradients of inputs are made too."""

    def __init__(self, kind: type[torch.nn.Linear], bias: bool) -> None:
        super().__init__()
        options: dict[str, Any] = {"bias": bias}
        if kind is Linear4bit:
            options |= {"compute_dtype": torch.float32, "quant_type": "nf4"}
        self.up = kind(INPUTS, OUTPUTS, **options)
        self.down = kind(OUTPUTS, INPUTS, **options)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.down(torch.tanh(self.up(states)))
        return hidden


def adapted(
    *,
    fused: bool,
    kind: type[torch.nn.Linear] = torch.nn.Linear,
    bias: bool = False,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Any:
    """The net with an adapter whose numbers are the same for equal options."""
    torch.manual_seed(0)
    net = Net(kind, bias).to(dtype).to("cpu").requires_grad_(False)
    # PEFT takes 4-bit layers for such where the model says so.
    net.is_loaded_in_4bit = kind is Linear4bit
    config = LoraConfig(r=RANK, lora_alpha=8, target_modules=["up", "down"], **options)
    if fused:
        use_fused_layers(config, blocks=[])
    model = get_peft_model(net, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            generator = torch.Generator().manual_seed(len(name))
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.train()


def states() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, TOKENS, INPUTS, generator=generator)


def passed(model: Any, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Output, gradient of the input, and those of the adapter."""
    given = states().to(dtype).requires_grad_()
    torch.manual_seed(2)
    output = model(given)
    torch.autograd.backward(output, output.detach())
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient is not None for gradient in gradients)
    found = [output.detach(), given.grad, *gradients]
    return [tensor for tensor in found if tensor is not None]


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("kind", [torch.nn.Linear, Linear4bit])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"lora_dropout": 0.5},
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "init_lora_weights": "gaussian"},
    ],
)
def test_outputs_and_gradients_are_those_of_peft(
    kind: type[torch.nn.Linear], bias: bool, options: dict[str, Any]
) -> None:
    ours = adapted(fused=True, kind=kind, bias=bias, **options)
    expected = {torch.nn.Linear: FusedLinear, Linear4bit: FusedLinear4bit}[kind]
    assert type(ours.base_model.model.up) is expected
    theirs = adapted(fused=False, kind=kind, bias=bias, **options)
    found = passed(ours)
    assert len(found) == (8 if options.get("use_dora") else 6)
    check_close(found, passed(theirs))


@pytest.mark.parametrize("kind", [torch.nn.Linear, Linear4bit])
def test_under_autocast_nothing_is_kept_in_float32(kind: type[torch.nn.Linear]) -> None:
    kept: dict[bool, list[torch.Tensor]] = {}
    results = {}
    for fused in (True, False):
        model = adapted(fused=fused, kind=kind, dtype=torch.bfloat16)
        kept[fused] = []

        def note(tensor: torch.Tensor, into: list[torch.Tensor] = kept[fused]) -> torch.Tensor:
            into.append(tensor)
            return tensor

        with (
            torch.autocast("cpu", dtype=torch.bfloat16),
            saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            results[fused] = passed(model, torch.bfloat16)
    assert {tensor.dtype for tensor in kept[True]} == {torch.bfloat16}
    ours_bytes, theirs_bytes = (sum(t.nbytes for t in kept[fused]) for fused in (True, False))
    # PEFT copies the input of a layer that is not 4-bit to float32.
    assert ours_bytes <= (1.0 if kind is Linear4bit else 0.8) * theirs_bytes
    assert all(p.dtype == torch.float32 for p in results[True][2:])
    for ours, theirs in zip(results[True], results[False], strict=True):
        # Each layer's product, the adapter's and their sum are rounded.
        rounding = worst(3, torch.bfloat16)
        assert (ours.float() - theirs.float()).norm() < rounding * theirs.float().norm()


def test_an_adapter_that_is_off_changes_nothing() -> None:
    model = adapted(fused=True)
    with model.disable_adapter():
        found = model(states())
    torch.testing.assert_close(found, model.unload()(states()), rtol=0, atol=0)


@pytest.mark.usefixtures("in_float64")
def test_dropout_is_off_in_evaluation() -> None:
    model = adapted(fused=True, lora_dropout=0.5).eval()
    expected = adapted(fused=False).eval()
    check_close(model(states()), expected(states()))


def test_names_of_what_is_saved_are_those_of_peft() -> None:
    ours, theirs = (get_peft_model_state_dict(adapted(fused=fused)) for fused in (True, False))
    assert len(ours) == 4
    assert ours.keys() == theirs.keys()


def test_gradients_are_those_of_small_differences() -> None:
    model = adapted(fused=True, dtype=torch.float64).double()
    trained = [p for p in model.parameters() if p.requires_grad]
    given = states()[:, :3].double().requires_grad_()
    torch.autograd.gradcheck(lambda *_: model(given), (given, *trained))


class Counted(torch.nn.Linear):
    """Counts its products."""

    products = 0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.products += 1
        return super().forward(states)


@pytest.mark.parametrize("family", ["phi3", "mistral", "qwen2"])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_last_product_of_a_recomputed_block_is_left_out(family: str, autocast: bool) -> None:
    """And the gradients are bit for bit those of a model whose activations are all kept."""
    gradients, products = [], []
    for recomputed in (True, False):
        base = random_model(family, SEGMENTED).train().requires_grad_(False)
        if recomputed:
            recompute_activations(base, kept_blocks=1, draws=False)
        for block in base.get_decoder().layers:
            block.mlp.down_proj.__class__ = Counted
        torch.manual_seed(0)
        config = LoraConfig(r=RANK, target_modules=["down_proj", "o_proj"], init_lora_weights=False)
        use_fused_layers(config, base.get_decoder().layers)
        model = get_peft_model(base, config)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            states = hidden_states(model, micro_batch((7, 12)))
        torch.autograd.backward(states.float().square().sum())
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
        blocks = base.get_decoder().layers
        products.append([block.mlp.down_proj.base_layer.products for block in blocks])
    assert products == [[1, 1], [1, 1]]
    assert len(gradients[0]) == 8
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)
