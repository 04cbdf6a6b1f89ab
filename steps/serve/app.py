"""The HTTP interface: /chat, OpenAI's chat completions, health and metrics."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import Receive, Scope, Send

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.admission import Admission
from argotune.steps.serve.authentication import Authentication
from argotune.steps.serve.body_limit import BodyLimit
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.ending import CloseConnections, Ending
from argotune.steps.serve.engine.interface import Answer, Engine, EngineError, Question, Sampling
from argotune.steps.serve.errors import ApiError, add_error_handlers, server_error
from argotune.steps.serve.keys import ClientKeys
from argotune.steps.serve.metrics import Metrics
from argotune.steps.serve.outcomes import RecordOutcomes, note_failure
from argotune.steps.serve.request_ids import RequestIds
from argotune.steps.serve.schema import ChatRequest, CompletionRequest


@dataclass(frozen=True)
class Ready:
    """What answers questions once it is loaded."""

    engine: Engine
    conversations: Conversations
    admission: Admission


class Service:
    """The engine, once it is loaded, and the state that all requests share."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.metrics = Metrics()
        self.started = int(time.time())
        self.ending = Ending()
        self._ready: Ready | None = None

    @property
    def ready(self) -> Ready:
        """What answers. Raises ApiError 503 while the model is being loaded."""
        if self._ready is None:
            raise ApiError(
                503,
                "the model is being loaded",
                kind="unavailable_error",
                code="loading",
                headers={"Retry-After": "2"},
            )
        return self._ready

    def set_ready(self, ready: Ready) -> None:
        """Start to answer questions; called from the thread that loaded the engine."""
        self._ready = ready
        self.metrics.ready.set(1)
        self.metrics.waiting.set_function(lambda: ready.admission.waiting)
        self.ending.on_refusal(ready.admission.close)


@dataclass(frozen=True)
class _Exchange:
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
        except EngineError as error:
            # The engine logs why.
            raise server_error() from error
        except TimeoutError as error:
            raise ApiError(
                504,
                f"no complete answer within {self.service.timeout_seconds:g} s",
                kind="timeout_error",
                code="timeout",
            ) from error
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


def make_app(
    service: Service,
    *,
    max_body_bytes: int,
    body_seconds: float = 30.0,
    keys: ClientKeys | None = None,
) -> FastAPI:
    """The application, which answers questions with status 503 until the service is ready."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_error_handlers(app)
    _add_status_routes(app, service)
    _add_chat_routes(app, service)
    paths = frozenset(route.path for route in app.routes if isinstance(route, APIRoute))
    # The last one is the first that sees a request.
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes, seconds=body_seconds)
    app.add_middleware(Authentication, keys=keys)
    app.add_middleware(RecordOutcomes, metrics=service.metrics, paths=paths)
    app.add_middleware(CloseConnections, ending=service.ending)
    app.add_middleware(RequestIds, failure=lambda: server_error().response())
    return app


def _add_chat_routes(app: FastAPI, service: Service) -> None:
    @app.post("/chat")
    async def chat(body: ChatRequest, request: Request) -> Response:
        exchange = _exchange(service, body.messages(), body, max_new_tokens=body.max_new_tokens)
        with service.ready.admission.admit():
            text = await _unless_gone(request, exchange.text())
        return JSONResponse({"response": text.strip()})

    @app.post("/v1/chat/completions")
    async def complete(body: CompletionRequest, request: Request) -> Response:
        exchange = _exchange(
            service,
            [message.turn() for message in body.messages],
            body,
            max_new_tokens=body.max_completion_tokens or body.max_tokens,
            stop_texts=body.stop_texts(),
        )
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            # Before the stream begins, so that a full queue can still be answered with 429.
            place = service.ready.admission.admit()
            return _EventStream(_events(exchange, with_usage), place)
        with service.ready.admission.admit():
            text = await _unless_gone(request, exchange.text())
        return JSONResponse(_completion(exchange, text))


def _add_status_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        _ = service.ready
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        base_name = service.ready.conversations.base_name
        base = {"id": base_name, "object": "model", "created": service.started}
        adapters = [
            {**base, "id": name, "owned_by": "argotune", "parent": base_name}
            for name in service.ready.engine.adapters()
        ]
        return {
            "object": "list",
            "data": [*adapters, {**base, "owned_by": base_name.partition("/")[0]}],
        }


class _EventStream(StreamingResponse):
    """Server-sent events that release their place in the queue in every case."""

    def __init__(self, events: AsyncIterator[str], place: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


async def _events(exchange: _Exchange, with_usage: bool) -> AsyncIterator[str]:
    """Yield the answer as OpenAI's chunks; an error during the answer is the last chunk."""
    head = _head(exchange, "chat.completion.chunk")

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async with aclosing(exchange.pieces()) as pieces:
            async for piece in pieces:
                yield chunk({"content": piece})
    except ApiError as error:
        note_failure(error.status)
        yield _event(error.body())
        return
    yield chunk({}, exchange.answer.finish_reason)
    if with_usage:
        yield _event({**head, "choices": [], "usage": exchange.usage()})
    yield "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _completion(exchange: _Exchange, text: str) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": None,
        "finish_reason": exchange.answer.finish_reason,
    }
    head = _head(exchange, "chat.completion")
    return {**head, "choices": [choice], "usage": exchange.usage()}


def _head(exchange: _Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": exchange.model,
    }


def _exchange(
    service: Service,
    messages: list[dict[str, str]],
    body: ChatRequest | CompletionRequest,
    *,
    max_new_tokens: int | None,
    stop_texts: Sequence[str] = (),
) -> _Exchange:
    conversations = service.ready.conversations
    model = body.model or conversations.name
    question = conversations.question(
        messages,
        model=model,
        max_new_tokens=max_new_tokens,
        sampling=_sampling(conversations.contract(model), body),
        stop_texts=stop_texts,
    )
    return _Exchange(service, question, Answer(), model, time.monotonic())


def _sampling(contract: ServingContract, body: ChatRequest | CompletionRequest) -> Sampling:
    """Sampling parameters of the request, or of the serving contract if not set."""
    defaults = contract.generation
    return Sampling(
        temperature=defaults.temperature if body.temperature is None else body.temperature,
        top_p=defaults.top_p if body.top_p is None else body.top_p,
        seed=body.seed,
    )


async def _unless_gone(request: Request, text: Coroutine[Any, Any, str]) -> str:
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
