"""The time of a run, and the wait for what happens next in it."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

Event = TypeVar("Event")


class Clock(Protocol):
    """A run's time: this machine's, or one that a month of schedules takes seconds of."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def next(
        self, events: SimpleQueue[Event], *, seconds: float, idle_until: float | None
    ) -> Event | None:
        """Take the next event; None if there is none for so many seconds of this machine.

        `idle_until` is when something is due, in seconds since the epoch, where no pod runs that
        could send an event before; None where one does, or nothing is due.
        """
        ...


class MachineClock:
    """The time of this machine."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def next(
        self, events: SimpleQueue[Event], *, seconds: float, idle_until: float | None
    ) -> Event | None:
        """Wait for the event; `seconds` ends before what is due."""
        try:
            return events.get(timeout=seconds)
        except Empty:
            return None
