"""POST /v1/responses: OpenAI's responses, whole or as a stream, of a server that keeps none."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
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
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.event_stream import EventStream, named_event
from argotune.steps.serve.exchange import Exchange, admit, unless_gone, usage_of
from argotune.steps.serve.logprobs import token_logprobs
from argotune.steps.serve.outcomes import note_failure
from argotune.steps.serve.schema.response_request import ResponseRequest
from argotune.steps.serve.schema.responses import ResponseObject, errors, streamed
from argotune.steps.serve.service import Service
from argotune.steps.tokens.tool_calls import Call

_NAMES = {"messages": "input", "response_format": "text.format"}
"""Parameters of chat completions that have other names here."""

Event = dict[str, Any]


def add_responses_route(app: FastAPI, service: Service) -> None:
    """POST /v1/responses."""

    @app.post(
        "/v1/responses",
        summary="Answer a conversation",
        responses={200: streamed(ResponseObject), **errors()},
    )
    async def respond(body: ResponseRequest, request: Request) -> Response:
        exchange = await unless_gone(request, _exchange(service, body))
        answer = _Answer(exchange, body)
        headers = service.adapter_headers(body.model)
        if body.stream:
            places = admit(service, [exchange])
            return EventStream(answer.stream(), places, headers)
        with admit(service, [exchange]):
            whole = await unless_gone(request, answer.whole())
        return JSONResponse(whole, headers=headers)


async def _exchange(service: Service, body: ResponseRequest) -> Exchange:
    """The question of a request. Raises ApiError, in this route's words."""
    try:
        (exchange,) = await chat_exchanges(service, body.chat())
    except ApiError as error:
        name = _NAMES.get(error.param or "")
        if name is None:
            raise
        message = f"{name}{error.message.removeprefix(error.param or '')}"
        raise ApiError(
            error.status,
            message if error.message.startswith(f"{error.param}:") else error.message,
            kind=error.kind,
            param=name,
            code=error.code,
            headers=error.headers,
        ) from error
    return exchange


class _Answer:
    """The answer of a request, which grows event by event."""

    def __init__(self, exchange: Exchange, body: ResponseRequest) -> None:
        self._exchange = exchange
        self._body = body
        self._id = _new_id("resp")
        self._created = int(time.time())
        self._output: list[dict[str, Any]] = []

    async def whole(self) -> dict[str, Any]:
        """The response. Raises ApiError."""
        async with aclosing(self._events()) as events:
            async for _ in events:
                pass
        return self._response(self._end())

    async def stream(self) -> AsyncIterator[str]:
        """The events in OpenAI's order; an error during the answer is the last one."""
        number = 0
        async with aclosing(self._all_events()) as events:
            async for event in events:
                yield named_event({**event, "sequence_number": number})
                number += 1

    async def _all_events(self) -> AsyncGenerator[Event]:
        for kind in ("created", "in_progress"):
            yield {"type": f"response.{kind}", "response": self._response("in_progress")}
        try:
            async with aclosing(self._events()) as events:
                async for event in events:
                    yield event
        except ApiError as error:
            note_failure(error.status)
            yield {"type": "response.failed", "response": self._response("failed", error)}
            return
        end = self._end()
        yield {"type": f"response.{end}", "response": self._response(end)}

    async def _events(self) -> AsyncGenerator[Event]:
        """The events of the output's items, which are complete afterwards. Raises ApiError."""
        message: _Message | None = None
        # Those whose text comes with a later part; those of a call are of no text.
        tokens: list[TokenLogprob] = []
        async with aclosing(chat_parts(self._exchange, self._body.chat())) as parts:
            async for part in parts:
                tokens += part.piece.tokens if part.piece else ()
                if part.text:
                    if message is None:
                        message = self._begin_message()
                        for event in message.begin():
                            yield event
                    yield message.add(part.text, tokens)
                    tokens = []
                if part.call:
                    for event in message.end("completed") if message else ():
                        yield event
                    message, tokens = None, []
                    for event in self._call(part.call):
                        yield event
        if message is None and not self._output:
            message = self._begin_message()
            for event in message.begin():
                yield event
        for event in message.end(self._end(), tokens) if message else ():
            yield event

    def _begin_message(self) -> _Message:
        message = _Message(len(self._output))
        self._output.append(message.item)
        return message

    def _call(self, call: Call) -> Iterator[Event]:
        item = {
            "type": "function_call",
            "id": _new_id("fc"),
            "status": "in_progress",
            "call_id": new_call_id(),
            "name": call.name,
            "arguments": "",
        }
        index, arguments = len(self._output), arguments_of(call)
        self._output.append({**item, "status": "completed", "arguments": arguments})
        place = {"item_id": item["id"], "output_index": index}
        kind = "response.function_call_arguments"
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield {"type": f"{kind}.delta", **place, "delta": arguments}
        yield {"type": f"{kind}.done", **place, "name": call.name, "arguments": arguments}
        done = self._output[index]
        yield {"type": "response.output_item.done", "output_index": index, "item": done}

    def _end(self) -> str:
        """The status of an answer that has come to its end."""
        cut = self._exchange.answer.finish_reason == "length"
        return "incomplete" if cut else "completed"

    def _response(self, status: str, error: ApiError | None = None) -> dict[str, Any]:
        body, sampling = self._body, self._exchange.question.sampling
        has_ended = status in ("completed", "incomplete")
        asked = body.model_dump(by_alias=True, exclude_none=True, include={"text", "tool_choice"})
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None if error is None else _failure(error),
            "incomplete_details": (
                {"reason": "max_output_tokens"} if status == "incomplete" else None
            ),
            "model": body.model,
            "output": [] if status == "in_progress" else self._output,
            "usage": _usage(self._exchange) if has_ended else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_logprobs": body.top_logprobs or 0,
            "text": {"format": {"type": "text"}} | asked.get("text", {}),
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "tool_choice": asked.get("tool_choice", "auto"),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "background": False,
            "store": False,
            "previous_response_id": None,
            "metadata": {},
            "truncation": "disabled",
        }


class _Message:
    """A message of the output."""

    def __init__(self, index: int) -> None:
        self._text = ""
        self._logprobs: list[dict[str, Any]] = []
        self.item: dict[str, Any] = {
            "type": "message",
            "id": _new_id("msg"),
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        self._index = index
        self._place = {"item_id": self.item["id"], "output_index": index, "content_index": 0}

    def begin(self) -> Iterator[Event]:
        yield self._item_event("added")
        yield self._part_event("added")

    def add(self, text: str, tokens: Sequence[TokenLogprob]) -> Event:
        logprobs = token_logprobs(tokens)
        self._text += text
        self._logprobs += logprobs
        return {
            "type": "response.output_text.delta",
            **self._place,
            "delta": text,
            "logprobs": logprobs,
        }

    def end(self, status: str, tokens: Sequence[TokenLogprob] = ()) -> Iterator[Event]:
        self._logprobs += token_logprobs(tokens)
        yield {
            "type": "response.output_text.done",
            **self._place,
            "text": self._text,
            "logprobs": self._logprobs,
        }
        yield self._part_event("done")
        self.item |= {"status": status, "content": [self._part()]}
        yield self._item_event("done")

    def _item_event(self, what: str) -> Event:
        kind = f"response.output_item.{what}"
        return {"type": kind, "output_index": self._index, "item": dict(self.item)}

    def _part_event(self, what: str) -> Event:
        return {"type": f"response.content_part.{what}", **self._place, "part": self._part()}

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": self._text,
            "annotations": [],
            "logprobs": self._logprobs,
        }


def _usage(exchange: Exchange) -> Mapping[str, Any]:
    counts = usage_of([exchange])
    return {
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts["total_tokens"],
    }


def _failure(error: ApiError) -> Mapping[str, str]:
    """An error in the form of this route, which knows few codes."""
    code = "server_error" if error.status >= 500 else "invalid_prompt"
    return {"code": code, "message": error.message}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
