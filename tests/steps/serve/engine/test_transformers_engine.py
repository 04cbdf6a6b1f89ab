"""The engine with a real (random, but tuned) model."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from argotune.steps.serve.engine.interface import (
    Answer,
    Engine,
    EngineError,
    Piece,
    Question,
    Sampling,
    UnknownAdapterError,
)
from argotune.steps.serve.engine.transformers_engine import TransformersEngine
from tests.steps.serve.conftest import ANSWER, QUESTION, Tuned

LIKELIEST = Sampling(temperature=0, top_p=1, seed=None)


@pytest.fixture
def engine(loaded: tuple[Any, Any], tuned: Tuned) -> Engine:
    return TransformersEngine(*loaded, tuned.contract, name="demo")


@pytest.fixture
def question(loaded: tuple[Any, Any]) -> Question:
    prompt = loaded[1].apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True
    )["input_ids"]
    return Question(prompt=tuple(prompt), adapter="demo", max_new_tokens=40, sampling=LIKELIEST)


def pieces(
    engine: Engine, question: Question, answer: Answer | None = None, *, seconds: float = 60
) -> AsyncGenerator[Piece]:
    return engine.answer(question, answer or Answer(), time.monotonic() + seconds)


async def text_of(engine: Engine, question: Question, answer: Answer | None = None) -> str:
    return "".join([piece.text async for piece in pieces(engine, question, answer)])


def test_adapter_and_base_answer_each_for_themselves(engine: Engine, question: Question) -> None:
    async def ask() -> tuple[str, str]:
        base = dataclasses.replace(question, adapter=None)
        return await text_of(engine, question), await text_of(engine, base)

    adapted, base = asyncio.run(ask())
    assert adapted == ANSWER
    assert base != ANSWER


def test_an_answer_says_how_it_ended(engine: Engine, question: Question) -> None:
    answer = Answer()
    asyncio.run(text_of(engine, question, answer))
    assert (answer.finish_reason, answer.started is None) == ("stop", False)
    cut = Answer()
    asyncio.run(text_of(engine, dataclasses.replace(question, max_new_tokens=2), cut))
    assert (cut.finish_reason, cut.tokens) == ("length", 2)


def test_an_adapter_that_is_not_there_is_said(engine: Engine, question: Question) -> None:
    with pytest.raises(UnknownAdapterError):
        asyncio.run(text_of(engine, dataclasses.replace(question, adapter="other")))


def test_an_error_fails_its_answer_and_no_later_one(
    engine: Engine,
    question: Question,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Iterator[int]:
        raise RuntimeError("out of everything")

    with monkeypatch.context() as patch:
        patch.setattr("argotune.steps.serve.engine.transformers_engine.generate", fail)
        with pytest.raises(EngineError, match="out of everything"):
            asyncio.run(text_of(engine, question))
    assert "out of everything" in caplog.text
    assert asyncio.run(text_of(engine, question)) == ANSWER


def test_generation_ends_when_nobody_reads(engine: Engine, question: Question) -> None:
    async def leave() -> Answer:
        answer = Answer()
        endless = dataclasses.replace(question, adapter=None, max_new_tokens=100)
        async with aclosing(pieces(engine, endless, answer)) as first:
            await anext(first)
        await text_of(engine, question)
        return answer

    assert asyncio.run(leave()).tokens < 100


def test_an_answer_ends_at_its_deadline(engine: Engine, question: Question) -> None:
    async def late() -> None:
        async for _ in pieces(engine, question, seconds=0):
            pass

    with pytest.raises(TimeoutError):
        asyncio.run(late())
