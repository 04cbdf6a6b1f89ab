"""A packed row must be as if each document stood alone: logits, and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from argotune.steps.causal_lm.head import Head
from argotune.steps.causal_lm.loss import summed_loss
from argotune.steps.contracts.serving import Rope, fix_rope
from argotune.steps.tune.attention import SEGMENTED
from tests.steps.tune.float64 import check_close
from tests.steps.tune.models import CONFIGS, VOCABULARY, random_model

LENGTHS = (5, 14, 1, 9)


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(VOCABULARY, (length,), generator=generator) for length in LENGTHS]


def packed_hidden(model: torch.nn.Module) -> torch.Tensor:
    return model.model(
        input_ids=torch.cat(documents())[None],
        position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None],
        use_cache=False,
        document_lengths=LENGTHS,
    ).last_hidden_state


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("family", CONFIGS)
def test_packed_logits_equal_those_of_single_documents(family: str) -> None:
    segmented, plain = random_model(family, SEGMENTED), random_model(family, "sdpa")
    with torch.no_grad():
        packed = segmented.lm_head(packed_hidden(segmented))[0]
        single = torch.cat([plain(document[None]).logits[0] for document in documents()])
    check_close(packed, single)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("family", CONFIGS)
def test_packed_gradients_equal_those_of_single_documents(family: str) -> None:
    segmented, plain = random_model(family, SEGMENTED), random_model(family, "sdpa")
    whole = torch.cat(documents())
    starts = {sum(LENGTHS[:index]) for index in range(len(LENGTHS))}
    learned = torch.tensor([at for at in range(len(whole)) if at not in starts])
    head = Head(segmented.lm_head)
    summed_loss(packed_hidden(segmented), learned - 1, whole[learned], head).backward()
    for document in documents():
        if len(document) > 1:
            logits = plain(document[None]).logits[0, :-1]
            cross_entropy(logits, document[1:], reduction="sum").backward()
    found = {name: parameter.grad for name, parameter in segmented.named_parameters()}
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    assert len(found) > 10
    check_close(found, expected)


def test_a_document_does_not_see_the_one_before_it() -> None:
    model = random_model("phi3", SEGMENTED)
    with torch.no_grad():
        before = packed_hidden(model)
        ids = torch.cat(documents())[None]
        ids[0, : LENGTHS[0]] = 7
        after = model.model(
            input_ids=ids,
            position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None],
            use_cache=False,
            document_lengths=LENGTHS,
        ).last_hidden_state
    assert not torch.equal(before[0, : LENGTHS[0]], after[0, : LENGTHS[0]])
    assert torch.equal(before[0, LENGTHS[0] :], after[0, LENGTHS[0] :])


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("choice", ["short", "long"])
def test_a_long_row_does_not_change_the_rotary_factors_of_short_ones(choice: Rope) -> None:
    model = random_model("tied phi-4-mini", "sdpa")
    fix_rope(model.config, choice)
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    short, long = torch.arange(10)[None], torch.arange(40)[None]
    with torch.no_grad():
        alone = model(short).logits[0]
        beside_long = model(long).logits[0, :10]
    check_close(alone, beside_long)
