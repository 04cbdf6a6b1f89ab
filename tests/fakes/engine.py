"""A stand-in for an engine of the server: answers by a rule, at once, without a model."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from argotune.steps.contracts.serving import Adapter, Base, ServingContract, read_contract
from argotune.steps.serve.engine.answer_text import AnswerText
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    TokenConstraint,
    TokenLogprob,
    UnknownAdapterError,
)
from tests.fakes.tokenizer import MARKED_TEMPLATE, VOCABULARY, make_tokenizer

ANSWER = "It stands for the answer."
"""What every adapter answers."""
CONTRACT = ServingContract(
    base=Base(repository="acme/random", revision="0" * 40, family="phi3"),
    adapter=Adapter(name="demo", r=8, alpha=8, target_modules=["qkv_proj"]),
    quantization=None,
    chat_template=MARKED_TEMPLATE,
    stop_tokens=["<|end|>"],
    stop_token_ids=[4],
    max_length=128,
    longest_row=64,
    rope="default",
)


class FakeEngine:
    """An adapter says ANSWER; the base says what it was asked; chance has letters by its seed.

    A constraint is kept: where it forbids the rule's token, the first allowed one is chosen.
    """

    def __init__(
        self, *adapters: str, slots: int = 1, contract: ServingContract = CONTRACT
    ) -> None:
        self.slots = slots
        self.base_contract = contract
        self.failure: str | None = None
        self.tokenizer: Any = make_tokenizer(contract.chat_template)
        self.questions: list[Question] = []
        """Those that it was asked, in their order."""
        self.running = 0
        """Answers that are generated now."""
        self.tokens = 0
        """Generated for all answers."""
        self.error: str | None = None
        """Why every answer fails from now on."""
        self.breaks = False
        """Whether the next failure is one after which it can answer no more."""
        self._adapters = dict.fromkeys(adapters or ("demo",), contract)
        self._opened = threading.Event()
        self._opened.set()
        self._entered = threading.Event()

    def hold(self) -> None:
        """Hold every answer before its next token, until `release`."""
        self._opened.clear()

    def release(self) -> None:
        """Let all answers go on."""
        self._opened.set()

    def wait_until_asked(self) -> None:
        """Return when an answer has begun."""
        assert self._entered.wait(timeout=60)

    def adapters(self) -> Mapping[str, ServingContract]:
        return self._adapters

    def serve(self, name: str, contract: ServingContract) -> None:
        """Have an adapter with this contract."""
        self._adapters[name] = contract

    async def add_adapter(self, name: str, directory: Path) -> None:
        self._adapters[name] = read_contract(directory)

    async def remove_adapter(self, name: str) -> None:
        if self._adapters.pop(name, None) is None:
            raise UnknownAdapterError(name)

    def close(self) -> None:
        self.release()

    async def answer(
        self, question: Question, answer: Answer, deadline: float
    ) -> AsyncGenerator[Piece]:
        if question.adapter is not None and question.adapter not in self._adapters:
            raise UnknownAdapterError(question.adapter)
        assert self.running < self.slots, "asked without a free place"
        self.running += 1
        self.questions.append(question)
        self._entered.set()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                async for piece in self._pieces(question, answer):
                    yield piece
        finally:
            self.running -= 1

    async def _pieces(self, question: Question, answer: Answer) -> AsyncGenerator[Piece]:
        text = AnswerText(self.tokenizer, question.stop_texts)
        wanted = self._rule(question)
        for _ in range(question.max_new_tokens):
            await self._gate()
            token = _allowed(next(wanted, self._stop), question.constraint)
            answer.tokens += 1
            self.tokens += 1
            answer.started = answer.started or time.monotonic()
            if token == self._stop:
                answer.finish_reason = "stop"
                break
            if question.constraint is not None:
                question.constraint.advance(token)
            yield Piece(text.push(token), self._logprobs(token, question.top_logprobs))
            if text.stopped:
                answer.finish_reason = "stop"
                break
        if rest := text.finish():
            yield Piece(rest)

    @property
    def _stop(self) -> int:
        return self.base_contract.stop_token_ids[0]

    async def _gate(self) -> None:
        while not self._opened.is_set():
            await asyncio.sleep(0.002)
        if self.error is not None:
            self.failure = self.error if self.breaks else None
            raise EngineError(self.error)
        # Between two tokens others of the loop have their turn, as beside a real engine.
        await asyncio.sleep(0)

    def _rule(self, question: Question) -> Iterator[int]:
        if question.sampling.temperature > 0:
            letters = random.Random(question.sampling.seed)
            return iter(self._ids("".join(letters.choices("abcdefgh", k=24))))
        if question.adapter is not None:
            return iter(self._ids(ANSWER))
        asked = self.tokenizer.decode(question.prompt, skip_special_tokens=True)
        return iter(self._ids(f"You asked: {asked}"))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _logprobs(self, token: int, top: int | None) -> tuple[TokenLogprob, ...]:
        """The chosen token is the likeliest; those of the next ids come after it."""
        if top is None:
            return ()
        likeliest = [
            self._logprob((token + place) % VOCABULARY, -0.25 - place) for place in range(top)
        ]
        chosen = self._logprob(token, -0.25)
        return (TokenLogprob(chosen.id, chosen.text, chosen.data, -0.25, tuple(likeliest)),)

    def _logprob(self, token: int, logprob: float) -> TokenLogprob:
        text = self.tokenizer.decode([token])
        return TokenLogprob(token, text, text.encode(), logprob)


def _allowed(token: int, constraint: TokenConstraint | None) -> int:
    mask = None if constraint is None else constraint.allowed()
    if mask is None:
        return token
    allowed = numpy.flatnonzero(numpy.unpackbits(mask.view(numpy.uint8), bitorder="little"))
    return token if token in allowed else int(allowed[0])
