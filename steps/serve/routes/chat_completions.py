"""POST /v1/chat/completions: OpenAI's chat completions, whole or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from argotune.steps.serve.chat_answer import (
    arguments_of,
    chat_exchanges,
    chat_parts,
    new_call_id,
)
from argotune.steps.serve.engine.interface import TokenLogprob
from argotune.steps.serve.event_stream import EventStream, events_of
from argotune.steps.serve.exchange import (
    Exchange,
    Part,
    admit,
    gathered,
    head_of,
    unless_gone,
    usage_of,
)
from argotune.steps.serve.logprobs import chat_logprobs
from argotune.steps.serve.schema.chat_completions import ChatCompletionRequest
from argotune.steps.serve.schema.responses import ChatCompletion, errors, streamed
from argotune.steps.serve.service import Service
from argotune.steps.tokens.tool_calls import Call


def add_chat_completions_route(app: FastAPI, service: Service) -> None:
    """POST /v1/chat/completions."""

    @app.post(
        "/v1/chat/completions",
        summary="Continue a conversation",
        responses={200: streamed(ChatCompletion), **errors()},
    )
    async def complete(body: ChatCompletionRequest, request: Request) -> Response:
        exchanges = await unless_gone(request, chat_exchanges(service, body))
        choices = [_Choice(number, exchange, body) for number, exchange in enumerate(exchanges)]
        headers = service.adapter_headers(body.model)
        if body.stream:
            # Before the stream begins, so that a full queue can still be answered with 429.
            places = admit(service, exchanges)
            head = head_of("chatcmpl", "chat.completion.chunk", body.model)
            deltas = [choice.deltas() for choice in choices]
            usage = partial(usage_of, exchanges) if body.wants_usage else None
            return EventStream(events_of(head, deltas, usage), places, headers)
        with admit(service, exchanges):
            works = gathered([choice.complete() for choice in choices])
            whole = await unless_gone(request, works)
        head = head_of("chatcmpl", "chat.completion", body.model)
        return JSONResponse(
            {**head, "choices": whole, "usage": usage_of(exchanges)}, headers=headers
        )


@dataclass
class _Choice:
    """One of the answers of a request."""

    index: int
    exchange: Exchange
    body: ChatCompletionRequest
    calls: list[dict[str, Any]] = field(default_factory=list)

    async def complete(self) -> dict[str, Any]:
        """The whole choice."""
        text: list[str] = []
        tokens: list[TokenLogprob] = []
        async with aclosing(chat_parts(self.exchange, self.body)) as parts:
            async for part in parts:
                text.append(part.text)
                tokens += part.piece.tokens if part.piece else ()
                if part.call:
                    self.calls.append(_call(part.call))
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(text) or (None if self.calls else ""),
            "refusal": None,
        }
        return {
            "index": self.index,
            "message": {**message, "tool_calls": self.calls} if self.calls else message,
            "logprobs": chat_logprobs(tokens) if self.body.logprobs else None,
            "finish_reason": self.finish_reason,
        }

    async def deltas(self) -> AsyncGenerator[dict[str, Any]]:
        """The choice in pieces."""
        yield self._delta({"role": "assistant", "content": ""})
        async with aclosing(chat_parts(self.exchange, self.body)) as parts:
            async for part in parts:
                delta: dict[str, Any] = {"content": part.text}
                if part.call:
                    delta = {"tool_calls": [{"index": len(self.calls), **_call(part.call)}]}
                    self.calls.append(delta)
                yield self._delta(delta, part)
        yield self._delta({}, finish_reason=self.finish_reason)

    @property
    def finish_reason(self) -> str:
        """Why the answer ended; of a call that was cut off there is no call."""
        reason = self.exchange.answer.finish_reason
        return "tool_calls" if self.calls and reason == "stop" else reason

    def _delta(
        self, delta: dict[str, Any], part: Part | None = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        tokens = part.piece.tokens if part and part.piece else ()
        return {
            "index": self.index,
            "delta": delta,
            "logprobs": chat_logprobs(tokens) if tokens else None,
            "finish_reason": finish_reason,
        }


def _call(call: Call) -> dict[str, Any]:
    """A call in OpenAI's form."""
    return {
        "id": new_call_id(),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments_of(call)},
    }
