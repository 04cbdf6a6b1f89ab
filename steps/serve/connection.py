"""Connections of clients that are slow, silent or too many.

uvicorn waits for ever for a request's head and for a client that reads nothing, and takes any
number of connections.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from argotune.steps.serve.request_ids import HEADER, new_request_id


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """How long a client may take, and how many may be connected."""

    head_seconds: float = 10.0
    """From the connection, or from the first byte of a further request, to the head's end."""
    write_seconds: float = 30.0
    """Longest wait for a client that reads nothing of its response."""
    most: int = 512
    """Most connections; then the one goes that has waited longest without a request."""


def limited(limits: ConnectionLimits) -> type[H11Protocol]:
    """The protocol for uvicorn's setting `http`, with these limits."""

    class Limited(_Connection):
        _limits = limits

    return Limited


class _Connection(H11Protocol):
    _limits: ConnectionLimits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._silence: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._waits_since = 0.0
        self._head_has_begun = False

    @property
    def _is_answering(self) -> bool:
        """Whether a request is being read or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, in place of an idle one if there are too many."""
        super().connection_made(transport)
        self._wait(self._limits.head_seconds)
        if len(self.connections) > self._limits.most:
            self._longest_idle().transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for."""
        _cancel(self._silence)
        _cancel(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; its head has to be complete in time."""
        if not self._is_answering and not self._head_has_begun:
            self._head_has_begun = True
            self._wait(self._limits.head_seconds)
        super().data_received(data)
        if self._is_answering:
            _cancel(self._silence)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wanted."""
        # Before the call, which begins the next request if it has arrived already; without one it
        # waits for `timeout_keep_alive`.
        self._head_has_begun = self.conn.their_state is h11.SEND_BODY
        self._waits_since = self.loop.time()
        if self._head_has_begun:
            self._wait(self._limits.head_seconds)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give the client time to read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        _cancel(self._unread)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as all errors are refused."""
        if self._is_answering and self.cycle.response_started:
            self.transport.close()
            return
        request_id = new_request_id()
        error = {"message": msg, "type": "invalid_request_error", "param": None, "code": None}
        body = json.dumps({"error": error, "request_id": request_id}).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            (HEADER, request_id),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait(self, seconds: float) -> None:
        """Close the connection unless a request's head is complete in so many seconds."""
        _cancel(self._silence)
        self._waits_since = self.loop.time()
        self._silence = self.loop.call_later(seconds, self.transport.abort)

    def _longest_idle(self) -> _Connection:
        """The connection that has waited longest for a request, or this one if none waits."""
        waiting = [
            other
            for other in self.connections
            if isinstance(other, _Connection) and not other._is_answering
        ]
        return min(waiting, key=lambda other: other._waits_since, default=self)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
