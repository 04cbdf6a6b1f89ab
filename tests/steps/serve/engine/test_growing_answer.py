"""An answer as its tokens come."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from argotune.steps.serve.engine.growing_answer import GrowingAnswer, Pieces, read_pieces
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    Sampling,
    TokenLogprob,
)
from tests.fakes.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer()
STOP = 4


class Noted:
    """A constraint that notes what it is told."""

    grammar = ""

    def __init__(self) -> None:
        self.advanced: list[int] = []

    def allowed(self) -> None:
        return None

    def advance(self, token: int) -> None:
        self.advanced.append(token)


def ids(text: str) -> list[int]:
    found: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return found


def grow(tokens: list[int], **changes: Any) -> tuple[list[Piece], Answer]:
    """Add tokens until the answer ends."""
    question = Question(
        **{
            "prompt": (1,),
            "adapter": None,
            "max_new_tokens": 40,
            "sampling": Sampling(temperature=0, top_p=1, seed=None),
            **changes,
        }
    )
    answer = Answer()
    growing = GrowingAnswer(question, answer, TOKENIZER, [STOP])
    pieces = []
    for token in tokens:
        assert not growing.ended
        pieces.append(growing.add(token, lambda top: TokenLogprob(token, "", b"", -float(top))))  # noqa: B023
        if growing.ended:
            break
    return [piece for piece in (*pieces, growing.rest()) if piece is not None], answer


def test_a_stop_token_ends_it_and_is_told_to_no_constraint() -> None:
    constraint = Noted()
    pieces, answer = grow([*ids("abc"), STOP, *ids("d")], constraint=constraint)
    assert "".join(piece.text for piece in pieces) == "abc"
    assert (answer.finish_reason, answer.tokens) == ("stop", len(ids("abc")) + 1)
    assert constraint.advanced == ids("abc")


def test_a_stop_text_ends_it_before_the_text() -> None:
    pieces, answer = grow(ids("one two three"), stop_texts=("two",))
    assert "".join(piece.text for piece in pieces) == "one "
    assert answer.finish_reason == "stop"


def test_the_last_of_its_tokens_ends_it() -> None:
    pieces, answer = grow(ids("abcdef"), max_new_tokens=3)
    assert "".join(piece.text for piece in pieces) == "abc"
    assert (answer.finish_reason, answer.tokens) == ("length", 3)


def test_log_probabilities_are_asked_for_by_their_number() -> None:
    pieces, _ = grow([*ids("ab"), STOP], top_logprobs=2)
    assert [piece.tokens[0].logprob for piece in pieces] == [-2.0, -2.0]
    pieces, _ = grow([*ids("ab"), STOP])
    assert [piece.tokens for piece in pieces] == [(), ()]


def test_what_another_thread_puts_is_read_to_its_end_or_its_error() -> None:
    async def read(*items: Piece | EngineError | None) -> list[Piece]:
        pieces: Pieces = asyncio.Queue()
        for item in items:
            pieces.put_nowait(item)
        return [piece async for piece in read_pieces(pieces, time.monotonic() + 60)]

    assert asyncio.run(read(Piece("a"), None, Piece("b"))) == [Piece("a")]
    with pytest.raises(EngineError, match="broken"):
        asyncio.run(read(Piece("a"), EngineError("broken")))


def test_a_deadline_ends_the_reading() -> None:
    async def read() -> None:
        async for _ in read_pieces(asyncio.Queue(), time.monotonic() - 1):
            pass

    with pytest.raises(TimeoutError):
        asyncio.run(read())
