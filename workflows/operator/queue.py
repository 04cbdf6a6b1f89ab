"""The Workspaces that are to be looked at: each once, by one worker at a time, with pauses.

Those that have changed go before those whose time has come, of which there may be thousands that
are refused at each look.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from argotune.steps.common import log
from argotune.steps.common.errors import StepError
from argotune.workflows.cli.errors import CliError
from argotune.workflows.operator.seen import Key

_LOGGER = logging.getLogger(__name__)
BATCH_SECONDS = 0.5
"""Changes that follow each other so soon are looked at together."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0
_CHANGED, _AGAIN = 0, 1
"""The first goes first."""


class Work(Protocol):
    """Looks at one key; returns the seconds until the next look, None for none."""

    def __call__(self, key: Key, *, whole: bool) -> float | None:
        """Raise StepError or CliError for another try, after a pause that grows."""


class WorkQueue:
    """Runs the work in threads; `add` and `run` belong to one event loop."""

    def __init__(self, work: Work, *, workers: int, done: Callable[[str], object]) -> None:
        """`done` hears of each look: `done`, `retried` or `failed`."""
        self._work = work
        self._workers = workers
        self._done = done
        self._ready: asyncio.PriorityQueue[tuple[int, int, Key]] = asyncio.PriorityQueue()
        """How urgent, the order among equals, and the key."""
        self._count = itertools.count()
        self._waiting: dict[Key, int] = {}
        """What is ready and not looked at yet -> how urgent."""
        self._changed: set[Key] = set()
        self._whole_due: dict[Key, float] = {}
        """When it is to be looked at whole, in the loop's time; looks before that are not."""
        self._again: set[Key] = set()
        """What fell due while it was looked at."""
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._begun_seconds: dict[Key, float] = {}
        """What is being looked at -> since when."""
        self._failures: dict[Key, int] = {}

    def add(self, key: Key, *, whole: bool = False, after_seconds: float = BATCH_SECONDS) -> None:
        """Look at the key in so many seconds, or sooner where that was wanted before."""
        if after_seconds <= BATCH_SECONDS:
            self._changed.add(key)
        when = asyncio.get_running_loop().time() + after_seconds
        if whole:
            self._whole_due[key] = min(when, self._whole_due.get(key, when))
        self._wake(key, when)

    @property
    def longest_look_seconds(self) -> float:
        """How long the oldest look of those that go on has taken."""
        now = time.monotonic()
        return max((now - begun for begun in self._begun_seconds.values()), default=0.0)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work_on())

    def _wake(self, key: Key, when: float) -> None:
        """Look at the key at that time of the loop, or sooner where that was wanted before."""
        timer = self._timers.get(key)
        if timer is not None and not timer.cancelled() and timer.when() <= when:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_at(when, self._is_due, key)

    def _is_due(self, key: Key) -> None:
        self._timers.pop(key, None)
        if key in self._begun_seconds:
            self._again.add(key)
            return
        urgency = _CHANGED if key in self._changed else _AGAIN
        if urgency < self._waiting.get(key, _AGAIN + 1):
            self._waiting[key] = urgency
            self._ready.put_nowait((urgency, next(self._count), key))

    async def _work_on(self) -> None:
        while True:
            _, _, key = await self._ready.get()
            # One that has become urgent while it waited is there twice.
            if self._waiting.pop(key, None) is None:
                continue
            self._changed.discard(key)
            whole = self._takes_whole(key)
            self._begun_seconds[key] = time.monotonic()
            wait = await self._look(key, whole=whole)
            del self._begun_seconds[key]
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            if wait is not None:
                # What fell due by time is looked at whole: what it depends on may have changed.
                self.add(key, whole=True, after_seconds=wait)
            if key in self._whole_due:
                self._wake(key, self._whole_due[key])

    def _takes_whole(self, key: Key) -> bool:
        """Whether a whole look is due, or so soon that it is done at once."""
        soon = asyncio.get_running_loop().time() + BATCH_SECONDS
        if self._whole_due.get(key, math.inf) > soon:
            return False
        del self._whole_due[key]
        return True

    async def _look(self, key: Key, *, whole: bool) -> float | None:
        try:
            wait = await asyncio.to_thread(self._work, key, whole=whole)
        except (StepError, CliError) as error:
            log.warn(_LOGGER, "retried", key=key, reason=error)
            self._done("retried")
            return self._pause_seconds(key)
        except Exception:
            # A bug with one of them must not end the work on the others.
            _LOGGER.exception("%s", log.line("failed", key=key))
            self._done("failed")
            return self._pause_seconds(key)
        self._failures.pop(key, None)
        self._done("done")
        return wait

    def _pause_seconds(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(_FIRST_PAUSE_SECONDS * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS))
