"""POST /chat: a question in a few words, and Kaito's older form of it."""

from __future__ import annotations

from dataclasses import replace

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from argotune.steps.serve.engine.interface import Question
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.exchange import admit, exchanges_of, off_loop, sampling_of, unless_gone
from argotune.steps.serve.schema.chat import ChatRequest
from argotune.steps.serve.schema.responses import ChatAnswer, errors
from argotune.steps.serve.service import Service


def add_chat_route(app: FastAPI, service: Service) -> None:
    """POST /chat."""

    @app.post("/chat", summary="Ask a question", response_model=ChatAnswer, responses=errors())
    async def chat(body: ChatRequest, request: Request) -> Response:
        model = body.model or service.ready.conversations.name
        question = await off_loop(service, lambda: _question(service, body, model))
        exchanges = exchanges_of(service, question, model=model, n=1)
        with admit(service, exchanges):
            text = await unless_gone(request, exchanges[0].text())
        full_text = f"{body.prompt}{text}" if body.return_full_text else text.strip()
        reply = {"response": full_text, "finish_reason": exchanges[0].answer.finish_reason}
        return JSONResponse(reply, headers=service.adapter_headers(model))


def _question(service: Service, body: ChatRequest, model: str) -> Question:
    """The question of a request. Raises ApiError."""
    conversations, asked = service.ready.conversations, body.arguments
    question = conversations.question(
        body.turns(),
        model=model,
        max_new_tokens=asked.max_new_tokens,
        sampling=sampling_of(conversations.contract(model), asked, body.seed),
        stop_texts=asked.stop_strings or (),
    )
    if asked.max_length is None:
        return question
    room = asked.max_length - len(question.prompt)
    if room < 1:
        raise ApiError(
            400,
            f"generate_kwargs.max_length: the question alone has {len(question.prompt)} tokens; "
            "max_new_tokens counts those of the answer only",
            param="generate_kwargs",
        )
    return replace(question, max_new_tokens=min(question.max_new_tokens, room))
