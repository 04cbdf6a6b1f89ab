"""The questions of a request and their answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from fastapi import Request

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.authentication import current_client
from argotune.steps.serve.constraint import GrammarConstraint
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    Sampling,
    UnknownAdapterError,
)
from argotune.steps.serve.errors import ApiError, server_error
from argotune.steps.serve.outcomes import noted_client
from argotune.steps.serve.service import Service
from argotune.steps.tokens.tool_calls import Call, CallReader

_SEEDS = 2**63

T = TypeVar("T")


class AsksForSampling(Protocol):
    """What all requests may say about the choice of tokens."""

    @property
    def temperature(self) -> float | None:
        """0: always the most likely token."""

    @property
    def top_p(self) -> float | None:
        """The total probability of the tokens to choose from."""


def sampling_of(contract: ServingContract, asked: AsksForSampling, seed: int | None) -> Sampling:
    """Sampling parameters of the request, or of the serving contract if not set."""
    defaults = contract.generation
    return Sampling(
        temperature=defaults.temperature if asked.temperature is None else asked.temperature,
        top_p=defaults.top_p if asked.top_p is None else asked.top_p,
        seed=seed,
    )


@dataclass(frozen=True)
class Part:
    """A part of an answer: text, a call, or tokens alone."""

    text: str = ""
    call: Call | None = None
    piece: Piece | None = None
    """What the engine gave, at the first part that comes of it."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One question and its answer."""

    service: Service
    question: Question
    model: str
    answer: Answer = field(default_factory=Answer)
    began: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """When the answer has to be complete, in seconds of time.monotonic()."""
        return self.began + self.service.timeout_seconds

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Yield the answer in pieces; the metrics are updated at the end. Raises ApiError."""
        ready, metrics = self.service.ready, self.service.metrics
        try:
            async with (
                ready.admission.slot(self.deadline),
                aclosing(ready.engine.answer(self.question, self.answer, self.deadline)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
            self._check_constraint()
        except UnknownAdapterError as error:
            raise ApiError(
                404,
                f"model {self.model!r} was taken out of service while the question waited",
                param="model",
                code="model_not_found",
            ) from error
        except EngineError as error:
            self.service.note_failed_answer(error)
            raise server_error() from error
        except TimeoutError as error:
            raise too_late(self.service) from error
        finally:
            labels = (self.model, metrics.client(noted_client()))
            metrics.prompt_tokens.labels(*labels).inc(len(self.question.prompt))
            metrics.answer_tokens.labels(*labels).inc(self.answer.tokens)
            metrics.answer_seconds.observe(time.monotonic() - self.began)
            if self.answer.started is not None:
                metrics.first_token_seconds.observe(self.answer.started - self.began)

    async def parts(
        self, reader: CallReader | None = None, *, one_call: bool = False
    ) -> AsyncGenerator[Part]:
        """Yield the answer as text and calls, which `reader` finds; without one all is text."""
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                found = iter([piece.text]) if reader is None else reader.push(piece.text)
                given: Piece | None = piece
                for part in _parts_of(found):
                    yield replace(part, piece=given)
                    given = None
                    if one_call and part.call:
                        self.answer.finish_reason = "stop"
                        return
                if given is not None and given.tokens:
                    yield Part(piece=given)
        for part in _parts_of(() if reader is None else reader.finish()):
            yield part
            if one_call and part.call:
                return

    async def text(self) -> str:
        """The complete answer as text."""
        async with aclosing(self.pieces()) as pieces:
            return "".join([piece.text async for piece in pieces])

    def _check_constraint(self) -> None:
        constraint = self.question.constraint
        if isinstance(constraint, GrammarConstraint) and constraint.problem:
            raise ApiError(
                400,
                "the answer could not be held to the schema, which became too costly: "
                f"{constraint.problem.partition(chr(10))[0]}",
                code="invalid_schema",
            )


async def off_loop(service: Service, make: Callable[[], T]) -> T:
    """What `make` returns, which renders and encodes. Raises ApiError."""
    deadline = time.monotonic() + service.timeout_seconds
    try:
        return await service.ready.conversations.tokens.off_loop(make, deadline)
    except TimeoutError as error:
        raise too_late(service) from error


def too_late(service: Service) -> ApiError:
    """The response to a request that took too long."""
    return ApiError(
        504,
        f"no complete answer within {service.timeout_seconds:g} s",
        kind="timeout_error",
        code="timeout",
        # OpenAI's clients would ask twice more, for as long each time.
        headers={"x-should-retry": "false"},
    )


def exchanges_of(
    service: Service, question: Question, *, model: str, n: int | None
) -> list[Exchange]:
    """`n` questions with seeds that follow each other, so that the first is that of n: 1."""
    return [
        Exchange(service=service, question=_with_seed(question, number), model=model)
        for number in range(n or 1)
    ]


def _with_seed(question: Question, number: int) -> Question:
    seed = question.sampling.seed
    if seed is None or number == 0:
        return question
    return replace(question, sampling=replace(question.sampling, seed=(seed + number) % _SEEDS))


def admit(service: Service, exchanges: Sequence[Exchange]) -> ExitStack:
    """A place in the queue for each, released at the end of the block; all count as questions.

    Raises ApiError 429, 503, and 400 where there would never be room for all of them.
    """
    most = service.ready.admission.most_of_one
    if len(exchanges) > most:
        raise ApiError(
            400,
            f"the request asks for {len(exchanges)} answers, prompts times n; this server takes at "
            f"most {most} of one client at once, so send them in several requests",
            code="too_many_answers",
        )
    with ExitStack() as places:
        for _ in exchanges:
            places.enter_context(service.ready.admission.admit())
        service.rates.spend_rest(current_client(), len(exchanges))
        return places.pop_all()


def usage_of(exchanges: Sequence[Exchange], prompts: int = 1) -> dict[str, int]:
    """Token counts in OpenAI's format; each of the prompts counts once, for all its answers."""
    each = len(exchanges) // prompts
    prompt = sum(len(exchange.question.prompt) for exchange in exchanges[::each])
    completion = sum(exchange.answer.tokens for exchange in exchanges)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def head_of(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """What each response and chunk about some exchanges begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


async def gathered(works: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """The results of all; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def unless_gone(request: Request, result: Coroutine[None, None, T]) -> T:
    """Await the result; cancel it and raise ApiError 499 if the client disconnects."""
    work = asyncio.ensure_future(result)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ApiError(499, "the client closed the connection", code="client_closed")
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _parts_of(items: Iterator[str | Call] | Sequence[str | Call]) -> Iterator[Part]:
    for item in items:
        if isinstance(item, Call):
            yield Part(call=item)
        elif item:
            yield Part(text=item)
