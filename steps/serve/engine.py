"""The loaded model and the line of requests before it: one answer at a time, a bounded wait."""

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

from jinja2.exceptions import TemplateError

from argotune.steps.contracts.serving import Message, ServingContract
from argotune.steps.serve.decode import AnswerText, Sampling, generate
from argotune.steps.serve.errors import ApiError, server_error

_logger = logging.getLogger(__name__)

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request, checked and tokenised."""

    prompt: list[int]
    adapted: bool
    """With the adapter, or by the base model alone."""
    max_new_tokens: int
    sampling: Sampling
    stop_texts: tuple[str, ...]


@dataclass
class Answer:
    """What is known of an answer; complete when its text has been read to the end."""

    finish_reason: FinishReason = "length"
    tokens: int = 0
    started: float | None = None
    """time.monotonic() of the first token."""


@dataclass
class _Turn:
    """The bridge between the thread that generates and the request that reads."""

    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[str | ApiError | None] = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def put(self, piece: str | ApiError | None) -> None:
        # The loop is closed when the server went down while this thread still worked.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


class Engine:
    """Makes questions from requests and answers them in order."""

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
        # One thread: torch already uses every core for one answer, and the adapter is switched
        # for the whole model.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
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
        """Render and tokenise a conversation as in training. Raises ApiError."""
        if model not in (None, self.name, self.base_name):
            raise ApiError(
                404,
                f"model {model!r} is not served here; there are {self.name!r} and "
                f"{self.base_name!r}",
                param="model",
                code="model_not_found",
            )
        prompt = self._tokenize(messages)
        room = self.contract.max_length - len(prompt)
        if room < (max_new_tokens or 1):
            asked = "" if max_new_tokens is None else f" and the answer may take {max_new_tokens}"
            raise ApiError(
                400,
                f"the conversation has {len(prompt)} tokens{asked}; together at most "
                f"{self.contract.max_length} fit",
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
        """A place in the line, given back at the end of the block. Raises ApiError 429."""
        if self._admitted > self._queue_size:
            raise ApiError(
                429,
                f"{self.waiting} requests are waiting already; try again later",
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
        """The answer's text piece by piece; `answer` is filled on the way.

        Whoever stops reading stops the generation. Raises TimeoutError at the deadline, in
        time.monotonic()'s seconds, and ApiError when the model fails.
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
            text = self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise ApiError(
                400, f"the chat template refuses these messages: {error}", param="messages"
            ) from error
        # The template writes the tokens that open a text; the tokenizer must not add them again.
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _generate(self, question: Question, answer: Answer, turn: _Turn) -> None:
        """Runs in the engine's thread."""
        try:
            context = (
                contextlib.nullcontext() if question.adapted else self._model.disable_adapter()
            )
            with context:
                self._fill(question, answer, turn)
            turn.put(None)
        # Whatever it is, the request must hear of it and the thread must go on.
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
