"""The engine on transformers and PEFT: one answer at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.engine.answer_text import AnswerText
from argotune.steps.serve.engine.decode import generate
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    UnknownAdapterError,
)

_logger = logging.getLogger(__name__)


@dataclass
class _Turn:
    """Connects the thread that generates an answer and the request that reads it."""

    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[Piece | EngineError | None] = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def put(self, piece: Piece | EngineError | None) -> None:
        # The loop is closed if the server has stopped while this thread was generating.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


class TransformersEngine:
    """Answers questions in the order in which they come."""

    slots = 1
    failure: str | None = None

    def __init__(self, model: Any, tokenizer: Any, contract: ServingContract, *, name: str) -> None:
        self.base_contract = contract
        self._adapters = {name: contract}
        self._model = model
        self._tokenizer = tokenizer
        self._stop_ids = frozenset(contract.stop_token_ids)
        # One thread, because torch uses all cores for one answer, and the adapter is switched on
        # and off for the whole model.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")

    def adapters(self) -> Mapping[str, ServingContract]:
        """The adapters by name, each with its serving.json."""
        return self._adapters

    async def add_adapter(self, name: str, directory: Path) -> None:
        """Refused: this engine has the adapter that it began with."""
        raise EngineError(f"{directory}: this engine takes no further adapter")

    async def remove_adapter(self, name: str) -> None:
        """Take no more questions for an adapter."""
        if self._adapters.pop(name, None) is None:
            raise UnknownAdapterError(name)

    async def answer(
        self, question: Question, answer: Answer, deadline: float
    ) -> AsyncGenerator[Piece]:
        """Yield the answer in pieces and fill `answer`; see Engine.answer."""
        if question.adapter is not None and question.adapter not in self._adapters:
            raise UnknownAdapterError(question.adapter)
        turn = _Turn(asyncio.get_running_loop())
        work = self._thread.submit(self._generate, question, answer, turn)
        try:
            while True:
                left = deadline - time.monotonic()
                piece = await asyncio.wait_for(turn.pieces.get(), left)
                if piece is None:
                    return
                if isinstance(piece, EngineError):
                    raise piece
                if piece.text:
                    yield piece
        finally:
            turn.cancelled.set()
            work.cancel()

    def _generate(self, question: Question, answer: Answer, turn: _Turn) -> None:
        """Generate the answer; runs in the engine's thread."""
        adapted = question.adapter is not None
        try:
            with contextlib.nullcontext() if adapted else self._model.disable_adapter():
                self._fill(question, answer, turn)
            turn.put(None)
        # After any error the request must be answered and the thread must continue.
        except Exception as error:
            _logger.exception("failed answer")
            turn.put(EngineError(str(error)))

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
            turn.put(Piece(text.push(token)))
            if text.stopped:
                answer.finish_reason = "stop"
                break
        turn.put(Piece(text.finish()))
