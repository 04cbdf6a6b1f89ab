"""The engine before a stand-in for vLLM's client."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract, write_contract
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    Sampling,
    UnknownAdapterError,
)
from argotune.steps.vllm.engine import MOST_ADAPTERS, VllmEngine
from tests.fakes.engine import ANSWER, CONTRACT
from tests.fakes.vllm import FakeVllm

ASKED = Question(
    prompt=(5, 6),
    adapter="demo",
    max_new_tokens=40,
    sampling=Sampling(temperature=0, top_p=1, seed=None),
)


def make(vllm: FakeVllm, directory: Path | None) -> VllmEngine:
    return VllmEngine(
        lambda: vllm,
        vllm.tokenizer,
        CONTRACT,
        name="demo",
        directory=directory,
        slots=4,
        max_rank=16,
    )


@pytest.fixture
def vllm() -> FakeVllm:
    return FakeVllm()


@pytest.fixture
def engine(vllm: FakeVllm, tmp_path: Path) -> Iterator[VllmEngine]:
    engine = make(vllm, tmp_path)
    yield engine
    engine.close()


def adapter(tmp_path: Path, contract: ServingContract = CONTRACT) -> Path:
    directory = tmp_path / "further"
    directory.mkdir(exist_ok=True)
    write_contract(directory, contract)
    return directory


def with_rank(rank: int, *, use_dora: bool = False) -> ServingContract:
    shape = msgspec.structs.replace(CONTRACT.adapter, r=rank, use_dora=use_dora)
    return msgspec.structs.replace(CONTRACT, adapter=shape)


def pieces(
    engine: VllmEngine, question: Question, answer: Answer | None = None
) -> AsyncGenerator[Piece]:
    return engine.answer(question, answer or Answer(), time.monotonic() + 60)


async def text_of(engine: VllmEngine, question: Question, answer: Answer | None = None) -> str:
    return "".join([piece.text async for piece in pieces(engine, question, answer)])


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def test_adapter_and_base_answer_each_for_themselves(engine: VllmEngine, vllm: FakeVllm) -> None:
    answer = Answer()
    assert asyncio.run(text_of(engine, ASKED, answer)) == ANSWER
    assert answer.finish_reason == "stop"
    assert answer.started is not None
    base = dataclasses.replace(ASKED, adapter=None)
    assert asyncio.run(text_of(engine, base)) == "I am the base."
    assert vllm.running == 0


def test_an_adapter_that_is_not_there_is_said(engine: VllmEngine) -> None:
    with pytest.raises(UnknownAdapterError):
        asyncio.run(text_of(engine, dataclasses.replace(ASKED, adapter="other")))


def test_a_stop_text_ends_the_answer_in_vllm_too(engine: VllmEngine, vllm: FakeVllm) -> None:
    async def ask() -> str:
        text = await text_of(engine, dataclasses.replace(ASKED, stop_texts=("stands",)))
        await until(lambda: vllm.running == 0)
        return text

    assert asyncio.run(ask()) == "It "


def test_log_probabilities_are_those_of_vllm(engine: VllmEngine) -> None:
    async def ask() -> list[Piece]:
        return [piece async for piece in pieces(engine, dataclasses.replace(ASKED, top_logprobs=2))]

    tokens = [token for piece in asyncio.run(ask()) for token in piece.tokens]
    assert b"".join(token.data for token in tokens).decode() == ANSWER
    assert {token.logprob for token in tokens} == {-0.5}
    assert all([each.logprob for each in token.top] == [-0.5, -1.5] for token in tokens)


def test_who_leaves_ends_the_work_of_vllm(engine: VllmEngine, vllm: FakeVllm) -> None:
    async def leave() -> None:
        async with aclosing(pieces(engine, ASKED)) as found:
            await anext(found)
            engine._loop.call_soon_threadsafe(vllm.gate.clear)
        await until(lambda: vllm.running == 0)

    asyncio.run(leave())


def test_a_deadline_ends_the_work_of_vllm(engine: VllmEngine, vllm: FakeVllm) -> None:
    async def ask() -> None:
        vllm.gate.clear()
        with pytest.raises(TimeoutError):
            async for _ in engine.answer(ASKED, Answer(), time.monotonic() + 0.01):
                pass
        await until(lambda: vllm.running == 0)

    asyncio.run(ask())


def test_a_failed_answer_is_no_end_of_the_engine(engine: VllmEngine, vllm: FakeVllm) -> None:
    vllm.error = ValueError("out of everything")
    with pytest.raises(EngineError, match="ValueError: out of everything"):
        asyncio.run(text_of(engine, ASKED))
    assert engine.failure is None
    vllm.error = None
    assert asyncio.run(text_of(engine, ASKED)) == ANSWER


def test_the_end_of_vllm_is_that_of_the_engine(engine: VllmEngine, vllm: FakeVllm) -> None:
    vllm.has_ended = True
    assert engine.failure == "vLLM's engine has ended; the lines before say why"
    with pytest.raises(EngineError, match="vLLM's engine has ended"):
        asyncio.run(text_of(engine, ASKED))


def test_an_adapter_that_goes_answers_what_it_has_begun(engine: VllmEngine, vllm: FakeVllm) -> None:
    async def remove() -> str:
        engine._loop.call_soon_threadsafe(vllm.gate.clear)
        answering = asyncio.create_task(text_of(engine, ASKED))
        await until(lambda: vllm.running == 1)
        removing = asyncio.create_task(engine.remove_adapter("demo"))
        await until(lambda: not engine.adapters())
        assert len(vllm.loras) == 1
        engine._loop.call_soon_threadsafe(vllm.gate.set)
        await removing
        return await answering

    assert asyncio.run(remove()) == ANSWER
    assert vllm.loras == []
    with pytest.raises(UnknownAdapterError):
        asyncio.run(engine.remove_adapter("demo"))


def test_a_question_on_its_way_is_told_that_its_adapter_went(
    engine: VllmEngine, vllm: FakeVllm
) -> None:
    async def ask() -> None:
        held = threading.Event()
        # The engine's loop comes to the removal before the question, which was asked before it.
        engine._loop.call_soon_threadsafe(held.wait)
        removed = engine._submit(engine._forget(engine._adapters["demo"]))
        asked = asyncio.create_task(text_of(engine, ASKED))
        await asyncio.sleep(0)
        held.set()
        await asyncio.wrap_future(removed)
        with pytest.raises(UnknownAdapterError):
            await asked

    asyncio.run(ask())
    assert vllm.loras == []


def test_an_adapter_is_added_and_replaced(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    async def add() -> str:
        await engine.add_adapter("further", adapter(tmp_path))
        await engine.add_adapter("further", adapter(tmp_path))
        await until(lambda: len(vllm.loras) == 2)
        return await text_of(engine, dataclasses.replace(ASKED, adapter="further"))

    assert asyncio.run(add()) == ANSWER
    assert [lora.number for lora in vllm.loras] == [1, 3]
    assert set(engine.adapters()) == {"demo", "further"}


@pytest.mark.parametrize(
    ("contract", "reason"),
    [
        (with_rank(17), "its rank is 17, and this server was started for ranks up to 16"),
        (with_rank(8, use_dora=True), "a DoRA adapter, which vLLM does not serve"),
        (msgspec.structs.replace(CONTRACT, rope="long"), "rotary factors 'long'"),
    ],
)
def test_what_this_server_cannot_serve_is_refused_with_the_reason(
    engine: VllmEngine, tmp_path: Path, contract: ServingContract, reason: str
) -> None:
    with pytest.raises(PermanentError, match=reason):
        asyncio.run(engine.add_adapter("further", adapter(tmp_path, contract)))
    assert set(engine.adapters()) == {"demo"}


def test_a_base_without_an_adapter_of_its_own_serves_those_of_anybody(
    vllm: FakeVllm, tmp_path: Path
) -> None:
    config = {"r": 8, "lora_alpha": 16, "target_modules": ["qkv_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    engine = make(vllm, None)
    try:
        assert (vllm.loras, engine.adapters()) == ([], {})
        asyncio.run(engine.add_adapter("foreign", tmp_path))
        assert engine.adapters()["foreign"].chat_template == CONTRACT.chat_template
        foreign, base = (dataclasses.replace(ASKED, adapter=name) for name in ("foreign", None))
        assert asyncio.run(text_of(engine, foreign)) == ANSWER
        assert asyncio.run(text_of(engine, base)) == "I am the base."
        (tmp_path / "adapter_config.json").write_text(
            json.dumps({**config, "alpha_pattern": {"qkv_proj": 4}})
        )
        with pytest.raises(PermanentError, match="has alpha_pattern, which vLLM does not follow"):
            asyncio.run(engine.add_adapter("other", tmp_path))
    finally:
        engine.close()


def test_a_server_holds_so_many_adapters(engine: VllmEngine, tmp_path: Path) -> None:
    async def add() -> None:
        for number in range(MOST_ADAPTERS):
            await engine.add_adapter(f"further{number}", adapter(tmp_path))
        with pytest.raises(PermanentError, match=f"{MOST_ADAPTERS + 1} adapters are served"):
            await engine.add_adapter("another", adapter(tmp_path))
        await engine.add_adapter("further0", adapter(tmp_path))

    asyncio.run(add())


def test_files_that_vllm_does_not_take_are_said(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    vllm.refuses = True
    with pytest.raises(PermanentError, match="further cannot be loaded: unexpected modules"):
        asyncio.run(engine.add_adapter("further", adapter(tmp_path)))


def test_memory_for_shorter_conversations_is_told_and_kept_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(FakeVllm(max_length=100), tmp_path)
    assert engine.base_contract.max_length == engine.adapters()["demo"].max_length == 100
    assert "memory for shorter conversations tokens=100 wanted=128" in caplog.text
    engine.close()


def test_an_engine_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    vllm = FakeVllm()
    vllm.refuses = True
    with pytest.raises(PermanentError, match="cannot be loaded: unexpected modules"):
        make(vllm, tmp_path)
    assert vllm.is_closed
    assert "vllm" not in [thread.name for thread in threading.enumerate()]
