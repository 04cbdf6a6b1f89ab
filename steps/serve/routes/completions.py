"""POST /v1/completions: OpenAI's plain completions, of a text as it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from argotune.steps.serve.engine.interface import TokenLogprob
from argotune.steps.serve.event_stream import EventStream, events_of
from argotune.steps.serve.exchange import (
    Exchange,
    admit,
    exchanges_of,
    gathered,
    head_of,
    off_loop,
    sampling_of,
    unless_gone,
    usage_of,
)
from argotune.steps.serve.logprobs import completion_logprobs
from argotune.steps.serve.schema.completions import CompletionRequest
from argotune.steps.serve.schema.responses import Completion, errors, streamed
from argotune.steps.serve.service import Service


def add_completions_route(app: FastAPI, service: Service) -> None:
    """POST /v1/completions."""

    @app.post(
        "/v1/completions",
        summary="Continue a text",
        responses={200: streamed(Completion), **errors()},
    )
    async def complete(body: CompletionRequest, request: Request) -> Response:
        exchanges = await off_loop(service, lambda: _exchanges(service, body))
        choices = [_Choice(number, exchange) for number, exchange in enumerate(exchanges)]
        headers = service.adapter_headers(body.model)
        head = head_of("cmpl", "text_completion", body.model)
        usage = partial(usage_of, exchanges, len(body.prompts))
        if body.stream:
            places = admit(service, exchanges)
            texts = [choice.texts() for choice in choices]
            events = events_of(head, texts, usage if body.wants_usage else None)
            return EventStream(events, places, headers)
        with admit(service, exchanges):
            works = gathered([choice.complete() for choice in choices])
            whole = await unless_gone(request, works)
        return JSONResponse({**head, "choices": whole, "usage": usage()}, headers=headers)


def _exchanges(service: Service, body: CompletionRequest) -> list[Exchange]:
    """The questions of a request: n for each prompt. Raises ApiError."""
    conversations = service.ready.conversations
    contract = conversations.contract(body.model)
    exchanges: list[Exchange] = []
    for prompt in body.prompts:
        question = conversations.plain_question(
            prompt,
            model=body.model,
            max_new_tokens=body.max_tokens,
            sampling=sampling_of(contract, body, body.seed),
            stop_texts=body.stop or (),
        )
        question = replace(question, top_logprobs=body.logprobs)
        exchanges += exchanges_of(service, question, model=body.model, n=body.n)
    return exchanges


@dataclass
class _Choice:
    """One of the answers of a request."""

    index: int
    exchange: Exchange
    offset: int = 0
    """Characters of the tokens so far."""

    async def complete(self) -> dict[str, Any]:
        """The whole choice."""
        text: list[str] = []
        tokens: list[TokenLogprob] = []
        async with aclosing(self.exchange.pieces()) as pieces:
            async for piece in pieces:
                text.append(piece.text)
                tokens += piece.tokens
        return self._choice("".join(text), tokens, self.exchange.answer.finish_reason)

    async def texts(self) -> AsyncGenerator[dict[str, Any]]:
        """The choice in pieces."""
        async with aclosing(self.exchange.pieces()) as pieces:
            async for piece in pieces:
                if piece.text or piece.tokens:
                    yield self._choice(piece.text, piece.tokens, None)
        yield self._choice("", (), self.exchange.answer.finish_reason)

    def _choice(
        self, text: str, tokens: Sequence[TokenLogprob], finish_reason: str | None
    ) -> dict[str, Any]:
        with_logprobs = self.exchange.question.top_logprobs is not None
        logprobs = completion_logprobs(tokens, self.offset) if with_logprobs else None
        self.offset += sum(len(token.text) for token in tokens)
        return {
            "index": self.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
