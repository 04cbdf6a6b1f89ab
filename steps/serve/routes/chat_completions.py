"""POST /v1/chat/completions: OpenAI's chat completions, whole or as a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.exchange import Exchange, make_exchange, off_loop, unless_gone
from argotune.steps.serve.outcomes import note_failure
from argotune.steps.serve.schema import CompletionRequest
from argotune.steps.serve.service import Service


def add_chat_completions_route(app: FastAPI, service: Service) -> None:
    """POST /v1/chat/completions."""

    @app.post("/v1/chat/completions")
    async def complete(body: CompletionRequest, request: Request) -> Response:
        exchange = await off_loop(
            service,
            lambda: make_exchange(
                service,
                [message.turn() for message in body.messages],
                body,
                max_new_tokens=body.max_completion_tokens or body.max_tokens,
                stop_texts=body.stop_texts(),
            ),
        )
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            # Before the stream begins, so that a full queue can still be answered with 429.
            place = service.ready.admission.admit()
            return _EventStream(_events(exchange, with_usage), place)
        with service.ready.admission.admit():
            text = await unless_gone(request, exchange.text())
        return JSONResponse(_completion(exchange, text))


class _EventStream(StreamingResponse):
    """Server-sent events that release their place in the queue in every case."""

    def __init__(self, events: AsyncIterator[str], place: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


async def _events(exchange: Exchange, with_usage: bool) -> AsyncIterator[str]:
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


def _completion(exchange: Exchange, text: str) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": None,
        "finish_reason": exchange.answer.finish_reason,
    }
    head = _head(exchange, "chat.completion")
    return {**head, "choices": [choice], "usage": exchange.usage()}


def _head(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": exchange.model,
    }
