"""Clocks as arguments, so that tests of waiting code need no real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Functions that read the time and sleep, in seconds; tests pass their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time
    """Seconds since the epoch, for times that are shown or stored."""


REAL_CLOCK = Clock()
