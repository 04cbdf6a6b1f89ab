"""The engine with a real (random, but tuned) model."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import shutil
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import write_contract
from argotune.steps.serve.engine.interface import (
    Answer,
    Engine,
    EngineError,
    Piece,
    Question,
    Sampling,
    TokenMask,
    UnknownAdapterError,
)
from argotune.steps.serve.engine.memory import token_bytes, weights_bytes
from argotune.steps.serve.engine.transformers_engine import TransformersEngine
from tests.steps.serve.conftest import ANSWER, QUESTION, Tuned

LIKELIEST = Sampling(temperature=0, top_p=1, seed=None)


@pytest.fixture
def engine(loaded: tuple[Any, Any], tuned: Tuned) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(*loaded, tuned.contract, name="demo")
    yield engine
    engine.close()


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


def test_a_question_without_a_token_is_a_mistake(question: Question) -> None:
    """It would wait for logits that never come."""
    with pytest.raises(ValueError, match="at least one token"):
        dataclasses.replace(question, prompt=())


def test_an_adapter_that_is_not_there_is_said(engine: Engine, question: Question) -> None:
    with pytest.raises(UnknownAdapterError):
        asyncio.run(text_of(engine, dataclasses.replace(question, adapter="other")))


def test_answers_together_are_those_that_each_is_alone(engine: Engine, question: Question) -> None:
    """Base and adapter, greedy and by chance, with prompts of different lengths."""
    by_chance = Sampling(temperature=1.5, top_p=0.9, seed=3)
    asked = [
        dataclasses.replace(
            question,
            prompt=question.prompt[-number:],
            adapter=("demo", None)[number % 2],
            sampling=(LIKELIEST, by_chance)[number % 3 == 0],
        )
        for number in range(2, 12)
    ]

    async def ask() -> tuple[list[str], list[str]]:
        alone = [await text_of(engine, each) for each in asked]
        return alone, await asyncio.gather(*(text_of(engine, each) for each in asked))

    alone, together = asyncio.run(ask())
    assert together == alone
    assert len(set(alone)) > 5


def test_a_stop_text_ends_an_answer(engine: Engine, question: Question) -> None:
    answer = Answer()
    stopped = dataclasses.replace(question, stop_texts=("stands",))
    assert asyncio.run(text_of(engine, stopped, answer)) == "It "
    assert answer.finish_reason == "stop"


def test_log_probabilities_come_with_the_tokens(engine: Engine, question: Question) -> None:
    asked = dataclasses.replace(question, top_logprobs=2)

    async def ask() -> list[Piece]:
        return [piece async for piece in pieces(engine, asked)]

    tokens = [token for piece in asyncio.run(ask()) for token in piece.tokens]
    assert b"".join(token.data for token in tokens).decode() == ANSWER
    assert all(token.top[0].id == token.id and len(token.top) == 2 for token in tokens)


class Broken:
    """A constraint with a bug."""

    def allowed(self) -> TokenMask | None:
        raise RuntimeError("out of everything")

    def advance(self, token: int) -> None:
        raise AssertionError("no token was allowed")


def test_an_error_of_one_answer_fails_no_other(
    engine: Engine, question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> tuple[str | BaseException, ...]:
        broken = dataclasses.replace(question, constraint=Broken())
        asked = (question, broken, question)
        return tuple(
            await asyncio.gather(*(text_of(engine, q) for q in asked), return_exceptions=True)
        )

    first, failed, last = asyncio.run(ask())
    assert (first, last) == (ANSWER, ANSWER)
    assert isinstance(failed, EngineError)
    assert str(failed) == "out of everything"
    assert "out of everything" in caplog.text
    assert engine.failure is None


def test_steps_that_fail_one_after_the_other_break_the_engine(
    engine: TransformersEngine, question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    # A token that the model has not: what it raises is what any broken step does.
    impossible = dataclasses.replace(question, prompt=(1_000_000,))

    def fail(times: int) -> None:
        for _ in range(times):
            with pytest.raises(EngineError, match="IndexError: index out of range"):
                asyncio.run(text_of(engine, impossible))

    fail(2)
    assert asyncio.run(text_of(engine, question)) == ANSWER
    fail(2)
    assert engine.failure is None
    fail(1)
    reason = "3 steps of the model failed in a row: IndexError: index out of range in self"
    assert engine.failure == reason
    with pytest.raises(EngineError, match=reason):
        asyncio.run(text_of(engine, question))
    assert caplog.text.count("failed step") == 5


def test_an_adapter_joins_and_leaves_while_others_answer(
    engine: Engine, question: Question, tuned: Tuned
) -> None:
    async def ask() -> str:
        running = asyncio.create_task(text_of(engine, question))
        await engine.add_adapter("one.more/name", tuned.adapter_dir)
        assert list(engine.adapters()) == ["demo", "one.more/name"]
        asked = dataclasses.replace(question, adapter="one.more/name")
        async with aclosing(pieces(engine, asked)) as begun:
            beginning = (await anext(begun)).text
            removal = asyncio.create_task(engine.remove_adapter("one.more/name"))
            await asyncio.sleep(0)
            assert list(engine.adapters()) == ["demo"]
            with pytest.raises(UnknownAdapterError):
                await text_of(engine, asked)
            rest = "".join([piece.text async for piece in begun])
        await removal
        assert await running == ANSWER
        await engine.add_adapter("one.more/name", tuned.adapter_dir)
        await engine.remove_adapter("one.more/name")
        return beginning + rest

    assert asyncio.run(ask()) == ANSWER


def test_an_adapter_takes_the_place_of_another_of_its_name(
    engine: Engine, question: Question, tuned: Tuned
) -> None:
    async def ask() -> tuple[str, str]:
        await engine.add_adapter("other", tuned.adapter_dir)
        asked = dataclasses.replace(question, adapter="other")
        async with aclosing(pieces(engine, asked)) as begun:
            beginning = (await anext(begun)).text
            await engine.add_adapter("other", tuned.adapter_dir)
            later = await text_of(engine, asked)
            rest = "".join([piece.text async for piece in begun])
        await engine.remove_adapter("other")
        return beginning + rest, later

    assert asyncio.run(ask()) == (ANSWER, ANSWER)


def test_adapters_that_do_not_fit_are_refused(engine: Engine, tuned: Tuned, tmp_path: Path) -> None:
    other = msgspec.structs.replace(tuned.contract.base, revision="1" * 40, digest="")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"base": other}, "belongs to acme/random 1111"),
        ({"rope": "long"}, "trained with rotary factors 'long', but the base is served with"),
    ]
    for change, message in changes:
        write_contract(tmp_path, msgspec.structs.replace(tuned.contract, **change))
        with pytest.raises(PermanentError, match=message):
            asyncio.run(engine.add_adapter("other", tmp_path))
    with pytest.raises(PermanentError, match="'acme/random' is the name of the base model"):
        asyncio.run(engine.add_adapter("acme/random", tuned.adapter_dir))
    with pytest.raises(UnknownAdapterError):
        asyncio.run(engine.remove_adapter("other"))
    assert list(engine.adapters()) == ["demo"]


def test_an_adapter_without_room_is_refused_and_the_others_answer_on(
    loaded: tuple[Any, Any], tuned: Tuned, question: Question, tmp_path: Path
) -> None:
    """One fits that is as long as the first; a longer one, or a second one, does not."""
    slots = 4
    answers_bytes = slots * tuned.contract.max_length * token_bytes(loaded[0])
    own_bytes = weights_bytes(tuned.adapter_dir)
    free_bytes = math.ceil((answers_bytes + 1.5 * own_bytes) / 0.9)
    engine = TransformersEngine(
        *loaded, tuned.contract, name="demo", slots=slots, free_bytes=free_bytes
    )
    longer = tmp_path / "longer"
    shutil.copytree(tuned.adapter_dir, longer)
    length = tuned.contract.max_length * 2
    write_contract(longer, msgspec.structs.replace(tuned.contract, max_length=length))

    async def check() -> str:
        with pytest.raises(PermanentError, match=f"{longer} has no room: .* where the adapter has"):
            await engine.add_adapter("longer", longer)
        await engine.add_adapter("first", tuned.adapter_dir)
        with pytest.raises(PermanentError, match="no room"):
            await engine.add_adapter("second", tuned.adapter_dir)
        await engine.remove_adapter("first")
        await engine.add_adapter("second", tuned.adapter_dir)
        return await text_of(engine, dataclasses.replace(question, adapter="second"))

    try:
        assert asyncio.run(check()) == ANSWER
        assert list(engine.adapters()) == ["demo", "second"]
    finally:
        engine.close()


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
