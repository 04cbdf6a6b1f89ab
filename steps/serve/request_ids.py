"""An id for every request: in its response, in errors, and in each line of the log about it."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_logger = logging.getLogger(__name__)

HEADER = "x-request-id"
# A client's own id gets into the log, so it is one word of harmless characters.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CURRENT: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request that this task answers; empty outside of one."""
    return _CURRENT.get()


class RequestIds:
    """ASGI middleware: the client's own id if it is well-formed, else a new one."""

    def __init__(self, app: ASGIApp, *, failure: Callable[[], ASGIApp]) -> None:
        """`failure` makes the response to a bug."""
        self._app = app
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id, and add the id to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ID.fullmatch(given) else new_request_id()
        # Not reset: what goes wrong further out is logged in the same task, with the id.
        _CURRENT.set(request_id)

        has_begun = False

        async def identified(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, identified)
        # Any bug is logged with the id; uvicorn ends the connection if the response had begun.
        except Exception:
            if has_begun:
                raise
            _logger.exception("failed request")
            await self._failure()(scope, receive, identified)


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req-{uuid.uuid4().hex}"


class NameRequest(logging.Filter):
    """Adds the id of the request to what is logged while it is answered."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        request_id = _CURRENT.get()
        if request_id:
            record.msg, record.args = f"{record.getMessage()} request={request_id}", ()
        return True
