"""What became of each request: counted, and told in one line of the log."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argotune.steps.common import log
from argotune.steps.serve.metrics import Metrics

_logger = logging.getLogger(__name__)

_CLIENT_LEFT = 499
_PROBED = frozenset({"/health", "/metrics"})
"""Paths that are asked every few seconds, so that lines about them would hide the others."""


@dataclass
class _Outcome:
    """What is known of the request that this task answers."""

    client: str = ""
    status: int | None = None
    is_complete: bool = False


_CURRENT: ContextVar[_Outcome | None] = ContextVar("outcome", default=None)


def note_client(name: str) -> None:
    """Count the request for the client with a key of this name."""
    if outcome := _CURRENT.get():
        outcome.client = name


def noted_client() -> str:
    """Name of the key with which this task's request was asked; empty where it has none."""
    outcome = _CURRENT.get()
    return "" if outcome is None else outcome.client


def note_failure(status: int) -> None:
    """Count a stream with the status that it would have had if it had not begun with 200."""
    if outcome := _CURRENT.get():
        outcome.status = status


class RecordOutcomes:
    """ASGI middleware: counts and logs requests by path and status.

    A response that does not come to its end, because the client leaves, has status 499.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        """`paths` are those with numbers of their own; each other one would be a time series."""
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outcome, began = _Outcome(), time.monotonic()
        _CURRENT.set(outcome)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.status = message["status"]
            elif not message.get("more_body", False):
                outcome.is_complete = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            outcome.status, outcome.is_complete = 500, True
            raise
        finally:
            self._record(scope["path"], outcome, time.monotonic() - began)

    def _record(self, path: str, outcome: _Outcome, seconds: float) -> None:
        status = outcome.status if outcome.is_complete and outcome.status else _CLIENT_LEFT
        path = path if path in self._paths else "other"
        label = self._metrics.client(outcome.client)
        self._metrics.requests.labels(path, str(status), label).inc()
        if path not in _PROBED:
            client = {"client": outcome.client} if outcome.client else {}
            log.event(_logger, "answered", path=path, status=status, seconds=seconds, **client)
