from __future__ import annotations

from argotune.steps.serve.engine.answer_text import AnswerText
from tests.fakes.tokenizer import make_tokenizer


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
