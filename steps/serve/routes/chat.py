"""POST /chat: one question without a history."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from argotune.steps.serve.exchange import make_exchange, off_loop, unless_gone
from argotune.steps.serve.schema import ChatRequest
from argotune.steps.serve.service import Service


def add_chat_route(app: FastAPI, service: Service) -> None:
    """POST /chat."""

    @app.post("/chat")
    async def chat(body: ChatRequest, request: Request) -> Response:
        exchange = await off_loop(
            service,
            lambda: make_exchange(
                service, body.messages(), body, max_new_tokens=body.max_new_tokens
            ),
        )
        with service.ready.admission.admit():
            text = await unless_gone(request, exchange.text())
        return JSONResponse({"response": text.strip()})
