from __future__ import annotations

import pytest
import torch

from argotune.steps.serve.engine.logprobs import Logprobs
from tests.fakes.tokenizer import VOCABULARY, make_tokenizer


def test_they_are_the_models_best_first() -> None:
    logits = torch.linspace(0, 3, VOCABULARY)
    expected = torch.log_softmax(logits, dim=-1)
    found = Logprobs(make_tokenizer()).of(7, logits, 3)
    assert (found.id, found.logprob) == (7, pytest.approx(float(expected[7])))
    assert [each.id for each in found.top] == [299, 298, 297]
    assert found.top[0].logprob == pytest.approx(float(expected[299]))
    assert found.top[0].top == ()


def test_parts_of_a_character_have_their_bytes() -> None:
    tokenizer = make_tokenizer()
    logprobs = Logprobs(tokenizer)
    tokens = tokenizer("→a", add_special_tokens=False)["input_ids"]
    found = [logprobs.of(token, torch.zeros(VOCABULARY), 0) for token in tokens]
    assert [each.text for each in found] == ["\ufffd", "\ufffd", "\ufffd", "a"]
    assert b"".join(each.data for each in found) == "→a".encode()


class SentencePiece:
    """As Mistral's tokenizer stores and decodes: it drops the space before a first token."""

    stored = ("\u2581the", "<0xE2>", "end")

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.stored[token]

    def decode(self, ids: list[int]) -> str:
        return ["the", "\ufffd", "end"][ids[0]]


def test_tokens_of_sentencepiece_keep_space_and_byte() -> None:
    logprobs = Logprobs(SentencePiece())
    found = [logprobs.of(token, torch.zeros(3), 0) for token in range(3)]
    assert [each.data for each in found] == [b" the", b"\xe2", b"end"]
    assert found[0].text == " the"
