"""An answer as its tokens come, whichever engine chooses them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

from argotune.steps.serve.engine.answer_text import AnswerText
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    TokenLogprob,
)

Pieces = asyncio.Queue[Piece | EngineError | None]
"""What a request reads of its answer, to the error or None at its end."""


class GrowingAnswer:
    """Turns the tokens of one answer into pieces, and finds out where it ends."""

    def __init__(
        self, question: Question, answer: Answer, tokenizer: Any, stop_ids: Collection[int]
    ) -> None:
        self._question = question
        self._answer = answer
        self._text = AnswerText(tokenizer, question.stop_texts)
        self._stop_ids = frozenset(stop_ids)
        self.ended = False
        """Whether there are no more tokens to come."""

    def add(self, token: int, logprob: Callable[[int], TokenLogprob]) -> Piece | None:
        """Take note of the next token; returns what can be sent of it.

        `logprob` is called with the `top_logprobs` of the question, if it has any.
        """
        question, answer = self._question, self._answer
        answer.tokens += 1
        answer.started = answer.started or time.monotonic()
        self.ended = answer.tokens >= question.max_new_tokens
        if token in self._stop_ids:
            self._stop()
            return None
        if question.constraint is not None:
            question.constraint.advance(token)
        tokens = () if question.top_logprobs is None else (logprob(question.top_logprobs),)
        text = self._text.push(token)
        if self._text.stopped:
            self._stop()
        return Piece(text, tokens) if text or tokens else None

    def rest(self) -> Piece | None:
        """What is left to be sent after the last token."""
        text = self._text.finish()
        return Piece(text) if text else None

    def _stop(self) -> None:
        self.ended = True
        self._answer.finish_reason = "stop"


async def read_pieces(pieces: Pieces, deadline: float) -> AsyncGenerator[Piece]:
    """Yield what another thread puts; raises its EngineError, and TimeoutError at `deadline`."""
    while True:
        piece = await asyncio.wait_for(pieces.get(), deadline - time.monotonic())
        if piece is None:
            return
        if isinstance(piece, EngineError):
            raise piece
        yield piece
