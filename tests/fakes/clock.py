"""A clock of the engine whose time passes only where nothing runs, so that months take seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import TypeVar

Event = TypeVar("Event")


class VirtualClock:
    """Goes on to what is due next as soon as no pod runs; pods take no time but what they say."""

    def __init__(self, now: datetime) -> None:
        self._now = now.timestamp()
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, as a pod does that takes so long."""
        self._now += seconds

    def go_on_to(self, time: datetime) -> None:
        """Let time pass until then; it never goes back."""
        self._now = max(self._now, time.timestamp())

    def call_at(self, time: datetime, call: Callable[[], None]) -> None:
        """Have something done when a run waits until then or longer."""
        self._calls.append((time.timestamp(), call))

    def next(
        self, events: SimpleQueue[Event], *, seconds: float, idle_until: float | None
    ) -> Event | None:
        """Take the next event, or be there at once where it is a time that is waited for."""
        if idle_until is None:
            try:
                return events.get(timeout=seconds)
            except Empty:
                return None
        self._calls.sort(key=lambda each: each[0])
        if self._calls and self._calls[0][0] <= idle_until:
            time, call = self._calls.pop(0)
            self._now = max(self._now, time)
            call()
        else:
            self._now = max(self._now, idle_until)
        return None
