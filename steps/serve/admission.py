"""The bounded queue of requests before the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Literal

from argotune.steps.serve.errors import ApiError


class Admission:
    """Places for the answers that are generated and for those that wait."""

    def __init__(self, slots: int, queue_size: int) -> None:
        self._slots = slots
        self._queue_size = queue_size
        self._admitted = 0
        self._free = asyncio.Semaphore(slots)
        self._waiting: set[asyncio.Task[Literal[True]]] = set()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return max(0, self._admitted - self._slots)

    def admit(self) -> ExitStack:
        """A place in the queue, which is released at the end of the block.

        Raises ApiError 429 where it is full, and 503 where the server ends.
        """
        if self._is_closed:
            raise _ends()
        if self._admitted >= self._slots + self._queue_size:
            raise ApiError(
                429,
                f"{self.waiting} requests are already waiting; try again later",
                kind="rate_limit_error",
                code="queue_full",
                headers={"Retry-After": "1"},
            )
        self._admitted += 1
        place = ExitStack()
        place.callback(self._leave)
        return place

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot of the engine.

        Raises TimeoutError at time.monotonic() `deadline`, and ApiError 503 where the server ends
        before.
        """
        turn = asyncio.ensure_future(self._free.acquire())
        self._waiting.add(turn)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await asyncio.wait({turn})
        except BaseException:
            if not turn.cancel() and not turn.cancelled():
                self._free.release()
            raise
        finally:
            self._waiting.discard(turn)
        if turn.cancelled():
            raise _ends()
        try:
            yield
        finally:
            self._free.release()

    def close(self) -> None:
        """Refuse what waits for a slot, and what comes; called in the event loop."""
        self._is_closed = True
        for turn in self._waiting:
            turn.cancel()

    def _leave(self) -> None:
        self._admitted -= 1


def _ends() -> ApiError:
    return ApiError(
        503,
        "this server ends; ask again, another one answers",
        kind="unavailable_error",
        code="shutting_down",
        headers={"Retry-After": "1"},
    )
