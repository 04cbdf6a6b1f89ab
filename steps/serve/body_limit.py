"""Refuse bodies that are too large, too slow, too complex or ambiguous before they are used."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.json_limits import json_excess, repeated_name


class BodyLimit:
    """ASGI middleware: 413 for large bodies, 408 for slow ones, 400 for too much in one, or twice.

    A body is read here as a whole, with or without Content-Length.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request with the refusal, or pass it on to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            messages = await self._read(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self._app(scope, _replay(messages, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message]:
        """The body's messages. Raises ApiError."""
        headers = Headers(scope=scope)
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise ApiError(415, f"the body's Content-Encoding is {encoding}; send it as it is")
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy that believes the other one takes a part of the body for a request of its own
            # (https://www.rfc-editor.org/rfc/rfc9112#section-6.3).
            raise ApiError(
                400,
                "the request has both Transfer-Encoding and Content-Length; send one",
                headers={"Connection": "close"},
            )
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._seconds):
                messages = await self._receive(receive)
        except TimeoutError as error:
            raise ApiError(
                408,
                f"the body did not arrive within {self._seconds:g} s",
                code="body_timeout",
                headers={"Connection": "close"},
            ) from error
        body = b"".join(message.get("body", b"") for message in messages)
        problem = json_excess(body) or repeated_name(body)
        if problem is not None:
            raise ApiError(400, problem, code="invalid_request")
        return messages

    async def _receive(self, receive: Receive) -> list[Message]:
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return messages

    def _too_large(self) -> ApiError:
        return ApiError(
            413, f"the body is larger than {self._max_bytes} bytes", code="body_too_large"
        )


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A receive function that returns the read messages and then calls `receive`."""
    left = iter(messages)

    async def replayed() -> Message:
        message = next(left, None)
        return message if message is not None else await receive()

    return replayed
