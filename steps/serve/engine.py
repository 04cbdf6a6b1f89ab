"""The loaded model and its request queue: one answer at a time, with a bounded queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from argotune.steps.contracts.chat_sandbox import TemplateFailure, bounded_rendering
from argotune.steps.contracts.serving import Message, ServingContract
from argotune.steps.serve.decode import AnswerText, Sampling, generate
from argotune.steps.serve.errors import ApiError, server_error

_logger = logging.getLogger(__name__)

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One checked and tokenized request."""

    prompt: list[int]
    adapted: bool
    """Whether to answer with the adapter, or else with the base model alone."""
    max_new_tokens: int
    sampling: Sampling
    stop_texts: tuple[str, ...]


@dataclass
class Answer:
    """Facts about an answer, complete when its text has been read to the end."""

    finish_reason: FinishReason = "length"
    tokens: int = 0
    started: float | None = None
    """time.monotonic() of the first token."""


@dataclass
class _Turn:
    """Connects the thread that generates an answer and the request that reads it."""

    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[str | ApiError | None] = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def put(self, piece: str | ApiError | None) -> None:
        # The loop is closed if the server has stopped while this thread was generating.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


class Engine:
    """Converts requests into questions and answers them in order."""

    def __init__(
        self, model: Any, tokenizer: Any, contract: ServingContract, *, name: str, queue_size: int
    ) -> None:
        self.contract = contract
        self.name = name
        self.base_name = contract.base.repository
        self._model = model
        self._tokenizer = tokenizer
        self._stop_ids = frozenset(contract.stop_token_ids)
        self._queue_size = queue_size
        self._admitted = 0
        # One thread, because torch uses all cores for one answer, and the adapter is switched on
        # and off for the whole model.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return max(0, self._admitted - 1)

    def question(
        self,
        messages: Sequence[Message],
        *,
        model: str | None,
        max_new_tokens: int | None,
        sampling: Sampling,
        stop_texts: Sequence[str] = (),
    ) -> Question:
        """Render and tokenize a conversation as in training. Raises ApiError 400 or 404."""
        if model not in (None, self.name, self.base_name):
            raise ApiError(
                404,
                f"model {model!r} is not served here; available are {self.name!r} and "
                f"{self.base_name!r}",
                param="model",
                code="model_not_found",
            )
        prompt = self._tokenize(messages)
        room = self.contract.max_length - len(prompt)
        if room < (max_new_tokens or 1):
            asked = "" if max_new_tokens is None else f" and the answer up to {max_new_tokens}"
            raise ApiError(
                400,
                f"the conversation has {len(prompt)} tokens{asked}; the limit for "
                f"conversation and answer is {self.contract.max_length}",
                param="messages",
                code="context_length_exceeded",
            )
        return Question(
            prompt=prompt,
            adapted=model != self.base_name,
            max_new_tokens=max_new_tokens or min(room, self.contract.generation.max_new_tokens),
            sampling=sampling,
            stop_texts=tuple(stop_texts),
        )

    def admit(self) -> contextlib.ExitStack:
        """A place in the queue, which is released at the end of the block. Raises ApiError 429."""
        if self._admitted > self._queue_size:
            raise ApiError(
                429,
                f"{self.waiting} requests are already waiting; try again later",
                kind="rate_limit_error",
                code="queue_full",
                headers={"Retry-After": "1"},
            )
        self._admitted += 1
        place = contextlib.ExitStack()
        place.callback(self._leave)
        return place

    def _leave(self) -> None:
        self._admitted -= 1

    async def answer(
        self, question: Question, answer: Answer, deadline: float
    ) -> AsyncGenerator[str]:
        """Yield the answer's text in pieces and fill `answer`.

        The generation stops when the caller stops reading. Raises TimeoutError at `deadline`, in
        seconds of time.monotonic(), and ApiError if the model fails.
        """
        turn = _Turn(asyncio.get_running_loop())
        work = self._thread.submit(self._generate, question, answer, turn)
        try:
            while True:
                left = deadline - time.monotonic()
                piece = await asyncio.wait_for(turn.pieces.get(), left)
                if piece is None:
                    return
                if isinstance(piece, ApiError):
                    raise piece
                if piece:
                    yield piece
        finally:
            turn.cancelled.set()
            work.cancel()

    def _tokenize(self, messages: Sequence[Message]) -> list[int]:
        try:
            with bounded_rendering():
                text = self._tokenizer.apply_chat_template(
                    list(messages), add_generation_prompt=True, tokenize=False
                )
        except TemplateFailure as error:
            raise ApiError(
                400, f"the chat template rejects these messages: {error}", param="messages"
            ) from error
        # The template already contains the opening tokens, so the tokenizer must not add them.
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _generate(self, question: Question, answer: Answer, turn: _Turn) -> None:
        """Generate the answer; runs in the engine's thread."""
        try:
            context = (
                contextlib.nullcontext() if question.adapted else self._model.disable_adapter()
            )
            with context:
                self._fill(question, answer, turn)
            turn.put(None)
        # After any error the request must be answered and the thread must continue.
        except Exception:
            _logger.exception("failed answer")
            turn.put(server_error())

    def _fill(self, question: Question, answer: Answer, turn: _Turn) -> None:
        text = AnswerText(self._tokenizer, question.stop_texts)
        tokens = generate(self._model, question.prompt, question.sampling, question.max_new_tokens)
        for token in tokens:
            answer.tokens += 1
            answer.started = answer.started or time.monotonic()
            if turn.cancelled.is_set():
                return
            if token in self._stop_ids:
                answer.finish_reason = "stop"
                break
            turn.put(text.push(token))
            if text.stopped:
                answer.finish_reason = "stop"
                break
        turn.put(text.finish())
