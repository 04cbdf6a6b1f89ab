from __future__ import annotations

from typing import Any

import pytest
import torch

from argotune.steps.serve.decode import AnswerText, Sampling, generate
from tests.steps.serve.conftest import QUESTION
from tests.steps.tune.models import make_tokenizer


def pieces(text: str, *stop_texts: str) -> tuple[list[str], AnswerText]:
    """What is shown after each token of a text, and at its end."""
    tokenizer = make_tokenizer()
    answer = AnswerText(tokenizer, stop_texts)
    shown = []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        shown.append(answer.push(token))
        if answer.stopped:
            break
    return [*shown, answer.finish()], answer


def test_characters_of_several_tokens_are_shown_whole() -> None:
    shown, _ = pieces("é→😀!")
    assert [piece for piece in shown if piece] == ["é", "→", "😀", "!"]


def test_a_character_that_stays_half_is_shown_at_the_end() -> None:
    tokenizer = make_tokenizer()
    answer = AnswerText(tokenizer, ())
    assert answer.push(tokenizer("é", add_special_tokens=False)["input_ids"][0]) == ""
    assert answer.finish() == "\ufffd"


def test_nothing_of_a_stop_text_is_shown() -> None:
    shown, answer = pieces("one END two", "END")
    assert "".join(shown) == "one "
    assert answer.stopped


def test_what_only_begins_like_a_stop_text_is_shown_later() -> None:
    shown, answer = pieces("one EN two", "END")
    assert shown[4] == ""
    assert "".join(shown) == "one EN two"
    assert not answer.stopped
    shown, answer = pieces("one EN", "END")
    assert shown[-1] == "EN"


def test_the_stop_text_that_comes_first_ends_the_answer() -> None:
    shown, _ = pieces("abcdef", "ef", "cd")
    assert "".join(shown) == "ab"


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
