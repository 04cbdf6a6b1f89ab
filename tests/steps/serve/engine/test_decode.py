from __future__ import annotations

from typing import Any

import pytest
import torch

from argotune.steps.serve.engine.decode import generate
from argotune.steps.serve.engine.interface import Sampling
from tests.steps.serve.conftest import QUESTION


def test_greedy_tokens_are_those_of_transformers(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    prompt = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    likeliest = Sampling(temperature=0, top_p=1, seed=None)
    found = list(generate(model, prompt, likeliest, 12))
    expected = model.generate(
        input_ids=torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=299
    )
    assert found == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize(("temperature", "different"), [(1e-4, 1), (2.0, 5)])
def test_temperature_is_how_much_chance_there_is(
    loaded: tuple[Any, Any], temperature: float, different: int
) -> None:
    model, tokenizer = loaded
    prompt = tokenizer("What?", add_special_tokens=False)["input_ids"]
    answers = {
        tuple(generate(model, prompt, Sampling(temperature=temperature, top_p=1, seed=seed), 8))
        for seed in range(5)
    }
    assert len(answers) == different


def test_top_p_leaves_out_the_unlikely(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    prompt = tokenizer("What?", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        shares = torch.softmax(model(torch.tensor([prompt])).logits[0, -1] / 2.0, dim=-1)
    ordered = shares.sort(descending=True)
    allowed = set(ordered.indices[: int((ordered.values.cumsum(0) < 0.5).sum()) + 1].tolist())
    drawn = {
        next(generate(model, prompt, Sampling(temperature=2.0, top_p=0.5, seed=seed), 1))
        for seed in range(60)
    }
    assert drawn <= allowed
    assert len(drawn) > 1
