"""The queue before what works on few requests at once: bounded, and fair between clients.

The order is that of start-time fair queueing (Goyal, Vin and Cheng, 1996) with requests as packets:
a request's turn is one after its client's last, but not before the turn that is being served. So a
client with one request waits for at most one of each other client, however many of them wait.

The room is shared by a dynamic threshold (Choudhury and Hahne, 1998): a client may wait with as
many requests as are places left. So one alone has half of the room, and the next still finds some.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

from argotune.steps.serve.authentication import current_client
from argotune.steps.serve.errors import ApiError

_LONGEST_RETRY_SECONDS = 300
_NEWEST_SHARE = 0.2
"""Of the newest time in the mean of times; about the last ten count."""


@dataclass(order=True)
class _Waiting:
    """A request that waits for a slot; ordered as they are served."""

    turn: int
    number: int
    slot: asyncio.Future[None] = field(compare=False)


class Admission:
    """Places for what is worked on in `slots` and for what waits; of one event loop's thread."""

    def __init__(
        self, slots: int, queue_size: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = slots
        self._free = slots
        self._queue_size = queue_size
        self._clock = clock
        self._admitted: Counter[str] = Counter()
        """Requests of each client that have a place."""
        self._running: Counter[str] = Counter()
        """Those of them that have a slot."""
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._turn = 0
        """Of the request that got a slot last."""
        self._last_turns: dict[str, int] = {}
        """Of each client's newest request, where it is not before `_turn`."""
        self._mean_seconds = 0.0
        """How long a slot is held."""
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return max(0, self._admitted.total() - self._slots)

    @property
    def most_of_one(self) -> int:
        """Number of requests for which a client finds room where nobody else asks."""
        return max(self._slots, math.ceil((self._slots + self._queue_size) / 2))

    def admit(self) -> ExitStack:
        """A place for a request of this task's client, given back at the end of the block.

        Raises ApiError 429 where it has no room, and 503 where the server ends.
        """
        if self._is_closed:
            raise _ends()
        client = current_client()
        self._check_room(client)
        self._admitted[client] += 1
        place = ExitStack()
        place.callback(_decrease, self._admitted, client)
        return place

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot, in this task's client's turn.

        Raises TimeoutError at time.monotonic() `deadline`, and ApiError 503 where the server ends
        before.
        """
        client = current_client()
        waiting = self._join(client)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await waiting.slot
        except BaseException:
            self._leave(waiting)
            raise
        began = self._clock()
        self._running[client] += 1
        try:
            yield
        finally:
            _decrease(self._running, client)
            self._measure(self._clock() - began)
            self._free_slot()

    def close(self) -> None:
        """Refuse what waits for a slot, and what comes; called in the event loop."""
        self._is_closed = True
        for waiting in self._waiting:
            if not waiting.slot.done():
                waiting.slot.set_exception(_ends())
        self._waiting.clear()

    def _check_room(self, client: str) -> None:
        """Raise ApiError 429 unless the client may wait with one more request."""
        left = self._slots + self._queue_size - self._admitted.total()
        if left > self._queue_size:
            return
        own = self._admitted[client] - self._running[client]
        if own < left:
            return
        whose = "" if left <= 0 else "of this client "
        seconds = math.ceil(self._mean_seconds * self.waiting / self._slots)
        raise ApiError(
            429,
            f"{self.waiting if left <= 0 else own} requests {whose}are already waiting;"
            " try again later",
            kind="rate_limit_error",
            code="queue_full",
            # Then those who wait now have been served.
            headers={"Retry-After": str(min(max(1, seconds), _LONGEST_RETRY_SECONDS))},
        )

    def _join(self, client: str) -> _Waiting:
        if self._is_closed:
            raise _ends()
        turn = max(self._turn, self._last_turns.get(client, -1) + 1)
        self._last_turns[client] = turn
        slot = asyncio.get_running_loop().create_future()
        waiting = _Waiting(turn, next(self._numbers), slot)
        if self._free:
            self._let_in(waiting)
        else:
            insort(self._waiting, waiting)
        return waiting

    def _let_in(self, waiting: _Waiting) -> None:
        self._free -= 1
        self._turn = max(self._turn, waiting.turn)
        self._last_turns = {
            client: turn for client, turn in self._last_turns.items() if turn >= self._turn
        }
        waiting.slot.set_result(None)

    def _leave(self, waiting: _Waiting) -> None:
        """Take back a request whose client has gone or whose time is over."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        elif _is_given(waiting.slot):
            self._free_slot()

    def _free_slot(self) -> None:
        self._free += 1
        while self._waiting and self._free:
            # One that has been cancelled, and does not know it yet, leaves by itself.
            if not (waiting := self._waiting.pop(0)).slot.done():
                self._let_in(waiting)

    def _measure(self, held_seconds: float) -> None:
        share = _NEWEST_SHARE if self._mean_seconds else 1.0
        self._mean_seconds += share * (held_seconds - self._mean_seconds)


def _decrease(counts: Counter[str], client: str) -> None:
    """Count one less, and keep no client with none."""
    counts[client] -= 1
    if not counts[client]:
        del counts[client]


def _is_given(slot: asyncio.Future[None]) -> bool:
    return slot.done() and not slot.cancelled() and slot.exception() is None


def _ends() -> ApiError:
    return ApiError(
        503,
        "this server ends; ask again, another one answers",
        kind="unavailable_error",
        code="shutting_down",
        headers={"Retry-After": "1"},
    )
