"""Every architecture in training, against transformers and PEFT with one document at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from argotune.presets.families import FAMILIES
from argotune.steps.causal_lm.head import Head
from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.blocks import packed_blocks
from argotune.steps.tune.distributed import World
from argotune.steps.tune.evaluate import hidden_states, micro_batch_loss
from argotune.steps.tune.load import recompute_activations
from argotune.steps.tune.lora import use_fused_layers
from argotune.steps.tune.pack import MicroBatch
from argotune.steps.tune.trial import try_packing
from tests.steps.tune.architectures import random_architecture
from tests.steps.tune.float64 import DEVICE, check_close
from tests.steps.tune.models import VOCABULARY

# PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.usefixtures("in_float64"),
]

LENGTHS = (5, 14, 1, 9)


def pack() -> MicroBatch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(VOCABULARY, (1, sum(LENGTHS)), generator=generator)
    places = torch.cat([torch.arange(length) for length in LENGTHS])
    learned = torch.tensor([at for at, place in enumerate(places) if place])
    return MicroBatch(ids, places[None], learned - 1, ids[0, learned], LENGTHS)


def adapted(base: Any, *, fused: bool) -> Any:
    """With an adapter on each of its linear layers, which matters."""
    config = LoraConfig(
        r=4,
        target_modules=r".*\.(self_attn|mlp)\.(shared_expert\.)?[a-z_]+_proj",
        init_lora_weights=False,
    )
    base.requires_grad_(False)
    if fused:
        use_fused_layers(config, base.get_decoder().layers)
    torch.manual_seed(2)
    return get_peft_model(base, config)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def packed(family: str) -> tuple[Any, torch.Tensor]:
    """The model with our parts, and the logits of a pack, whose loss has been learned from."""
    with packed_blocks(family):
        base = random_architecture(family, SEGMENTED)
    recompute_activations(base, kept_blocks=1, draws=False)
    model = adapted(base, fused=True).train()
    torch.autograd.backward(micro_batch_loss(model, pack()))
    with torch.no_grad():
        return model, Head.of(base)(hidden_states(model, pack()))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_packs_have_the_logits_and_gradients_of_documents_alone(family: str) -> None:
    """With the blocks recomputed but the last one."""
    model, logits = packed(family)
    theirs = adapted(random_architecture(family), fused=False)
    alone = [theirs(input_ids=each.input_ids).logits[0] for each in pack().documents_apart()]
    for each, found in zip(pack().documents_apart(), alone, strict=True):
        loss = cross_entropy(found[:-1], each.input_ids[0, 1:], reduction="sum")
        torch.autograd.backward(loss)
    check_close(logits, torch.cat(alone).detach())
    expected = gradients(theirs)
    assert len(expected) >= 2 * 2 * 4
    check_close(gradients(model), expected)
    try_packing(model, DEVICE, World())
    assert model.get_base_model().config._attn_implementation == SEGMENTED


def mixed(family: str) -> Any:
    """A model in which tokens see each other outside attention, as in one with a state."""
    base = random_architecture(family, SEGMENTED)
    norm = base.get_decoder().layers[0].input_layernorm
    norm.register_forward_hook(lambda _, inputs, output: output.cumsum(dim=1))
    return adapted(base, fused=True).train()


def test_a_model_that_cannot_be_packed_is_computed_document_by_document(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = mixed("llama")
    try_packing(model, DEVICE, World())
    assert "documents of a pack see each other in this llama model" in caplog.text
    loss = micro_batch_loss(model, pack())
    alone = [model(input_ids=each.input_ids).logits[0] for each in pack().documents_apart()]
    expected = [
        cross_entropy(found[:-1], each.input_ids[0, 1:], reduction="sum")
        for each, found in zip(pack().documents_apart(), alone, strict=True)
    ]
    check_close(loss.detach(), torch.stack(expected).sum().detach())


def test_noise_is_that_of_each_document_where_they_are_computed_apart() -> None:
    model = mixed("llama")
    try_packing(model, DEVICE, World())
    torch.manual_seed(3)
    noisy = hidden_states(model, pack(), noise_alpha=5.0)
    assert noisy.shape == (1, sum(LENGTHS), 64)
    assert not torch.equal(noisy, hidden_states(model, pack()))


def twice(_: torch.nn.Module, inputs: Any, output: Any) -> Any:
    output.logits = 2 * output.logits
    return output


def test_logits_that_are_not_those_of_the_head_are_refused() -> None:
    model = adapted(random_architecture("granite", SEGMENTED), fused=True)
    model.get_base_model().register_forward_hook(twice)
    with pytest.raises(PermanentError, match="the loss of this granite model cannot be computed"):
        try_packing(model, DEVICE, World())
