"""One question of a request and its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Question,
    Sampling,
    UnknownAdapterError,
)
from argotune.steps.serve.errors import ApiError, server_error
from argotune.steps.serve.schema import ChatRequest, CompletionRequest
from argotune.steps.serve.service import Service

T = TypeVar("T")


@dataclass(frozen=True)
class Exchange:
    """One question and its answer."""

    service: Service
    question: Question
    answer: Answer
    model: str
    began: float

    async def pieces(self) -> AsyncGenerator[str]:
        """Yield the answer's text in pieces; the metrics are updated at the end."""
        ready, metrics = self.service.ready, self.service.metrics
        deadline = self.began + self.service.timeout_seconds
        try:
            async with (
                ready.admission.slot(deadline),
                aclosing(ready.engine.answer(self.question, self.answer, deadline)) as pieces,
            ):
                async for piece in pieces:
                    yield piece.text
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
            raise _too_late(self.service) from error
        finally:
            metrics.prompt_tokens.labels(self.model).inc(len(self.question.prompt))
            metrics.answer_tokens.labels(self.model).inc(self.answer.tokens)
            metrics.answer_seconds.observe(time.monotonic() - self.began)
            if self.answer.started is not None:
                metrics.first_token_seconds.observe(self.answer.started - self.began)

    async def text(self) -> str:
        """The complete answer."""
        async with aclosing(self.pieces()) as pieces:
            return "".join([piece async for piece in pieces])

    def usage(self) -> dict[str, int]:
        """Token counts in OpenAI's format."""
        prompt, completion = len(self.question.prompt), self.answer.tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


async def off_loop(service: Service, make: Callable[[], T]) -> T:
    """What `make` returns, which renders and encodes. Raises ApiError."""
    deadline = time.monotonic() + service.timeout_seconds
    try:
        return await service.ready.conversations.tokens.off_loop(make, deadline)
    except TimeoutError as error:
        raise _too_late(service) from error


def _too_late(service: Service) -> ApiError:
    return ApiError(
        504,
        f"no complete answer within {service.timeout_seconds:g} s",
        kind="timeout_error",
        code="timeout",
    )


def make_exchange(
    service: Service,
    messages: list[dict[str, str]],
    body: ChatRequest | CompletionRequest,
    *,
    max_new_tokens: int | None,
    stop_texts: Sequence[str] = (),
) -> Exchange:
    """Check, render and tokenize a request. Raises ApiError."""
    conversations = service.ready.conversations
    model = body.model or conversations.name
    question = conversations.question(
        messages,
        model=model,
        max_new_tokens=max_new_tokens,
        sampling=_sampling(conversations.contract(model), body),
        stop_texts=stop_texts,
    )
    return Exchange(service, question, Answer(), model, time.monotonic())


def _sampling(contract: ServingContract, body: ChatRequest | CompletionRequest) -> Sampling:
    """Sampling parameters of the request, or of the serving contract if not set."""
    defaults = contract.generation
    return Sampling(
        temperature=defaults.temperature if body.temperature is None else body.temperature,
        top_p=defaults.top_p if body.top_p is None else body.top_p,
        seed=body.seed,
    )


async def unless_gone(request: Request, text: Coroutine[Any, Any, str]) -> str:
    """Await the text; cancel it and raise ApiError 499 if the client disconnects."""
    work = asyncio.ensure_future(text)
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
