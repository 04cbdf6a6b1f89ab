"""Our attention of Phi-3 against transformers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.phi3.modeling_phi3 import Phi3Attention

from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.phi3 import PackedAttention, packed_blocks
from tests.steps.tune.float64 import check_close
from tests.steps.tune.models import CONFIGS, random_model
from tests.steps.tune.test_attention import packed_hidden

PHI3 = [name for name, config in CONFIGS.items() if config.model_type == "phi3"]


def ours(family: str) -> Any:
    with packed_blocks():
        return random_model(family, SEGMENTED)


def passed(model: Any) -> list[torch.Tensor]:
    """Logits of packed documents, and the gradients of all weights."""
    logits = model.lm_head(packed_hidden(model))
    torch.autograd.backward(logits.square().sum())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 10
    return [logits.detach(), *gradients]


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("family", PHI3)
def test_logits_and_gradients_are_those_of_transformers(family: str) -> None:
    """With grouped heads, a window, and a head that is rotated in part."""
    model = ours(family)
    assert {type(block.self_attn) for block in model.model.layers} == {PackedAttention}
    expected = passed(random_model(family, SEGMENTED))
    check_close(passed(model), expected)


def test_models_that_are_made_later_have_transformers_own() -> None:
    assert len(PHI3) == 3
    ours(PHI3[0])
    later = random_model(PHI3[0], SEGMENTED)
    assert {type(block.self_attn) for block in later.model.layers} == {Phi3Attention}


def test_other_families_are_left_alone() -> None:
    with packed_blocks():
        model = random_model("qwen2", SEGMENTED)
    assert not any(isinstance(module, PackedAttention) for module in model.modules())
