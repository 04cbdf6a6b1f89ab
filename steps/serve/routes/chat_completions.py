"""POST /v1/chat/completions: OpenAI's chat completions, whole or as a stream."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from argotune.steps.serve.engine.interface import Question, TokenLogprob
from argotune.steps.serve.event_stream import EventStream, events_of
from argotune.steps.serve.exchange import (
    Exchange,
    Part,
    admit,
    exchanges_of,
    gathered,
    head_of,
    off_loop,
    sampling_of,
    unless_gone,
    usage_of,
)
from argotune.steps.serve.held_answer import AskedGrammar, grammar_of, hold
from argotune.steps.serve.logprobs import chat_logprobs
from argotune.steps.serve.schema.chat_completions import ChatCompletionRequest
from argotune.steps.serve.schema.responses import ChatCompletion, errors, streamed
from argotune.steps.serve.service import Service
from argotune.steps.tokens.tool_calls import Call, CallReader

_LETTERS = string.ascii_letters + string.digits


def add_chat_completions_route(app: FastAPI, service: Service) -> None:
    """POST /v1/chat/completions."""

    @app.post(
        "/v1/chat/completions",
        summary="Continue a conversation",
        responses={200: streamed(ChatCompletion), **errors()},
    )
    async def complete(body: ChatCompletionRequest, request: Request) -> Response:
        exchanges = await unless_gone(request, _exchanges(service, body))
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


async def _exchanges(service: Service, body: ChatCompletionRequest) -> list[Exchange]:
    """The questions of a request. Raises ApiError."""
    question, grammar = await off_loop(service, lambda: _question(service, body))
    exchanges = exchanges_of(service, question, model=body.model, n=body.n)
    if grammar is None:
        return exchanges
    return [await hold(exchange, grammar) for exchange in exchanges]


def _question(
    service: Service, body: ChatCompletionRequest
) -> tuple[Question, AskedGrammar | None]:
    """The question and the grammar of its answer, if it has one. Raises ApiError."""
    conversations = service.ready.conversations
    tools = [tool.for_template() for tool in body.offered]
    contract = conversations.contract(body.model)
    question = conversations.question(
        [message.turn() for message in body.messages],
        model=body.model,
        max_new_tokens=body.most_tokens,
        sampling=sampling_of(contract, body, body.seed),
        stop_texts=body.stop or (),
        tools=tools or None,
    )
    question = replace(question, top_logprobs=(body.top_logprobs or 0) if body.logprobs else None)
    return question, grammar_of(body, conversations.template(body.model))


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
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                text.append(part.text)
                tokens += part.piece.tokens if part.piece else ()
                if part.call:
                    self.calls.append(_call(part.call))
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(text) or (None if self.calls else ""),
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
        async with aclosing(self._parts()) as parts:
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

    def _parts(self) -> AsyncGenerator[Part]:
        offered = {tool.function.name for tool in self.body.offered}
        one_call = self.body.parallel_tool_calls is False
        return self.exchange.parts(CallReader(offered) if offered else None, one_call=one_call)

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
    """A call in OpenAI's form. Its id is one that every chat template accepts."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": "".join(secrets.choice(_LETTERS) for _ in range(9)),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
