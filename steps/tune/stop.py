"""What ends training before its last step: a signal, or the end of its time.

A signal asks for a checkpoint from which another try goes on; the training loop looks for it
between forward passes. The end of its time asks for the adapter as it is.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from argotune.steps.contracts.stop_time import read_stop_time

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOK_SECONDS = 1.0
"""Interval of reading the file: in a sandbox such as gVisor each read takes a tenth of a small
model's step."""


class StopRequest:
    """SIGTERM and Ctrl-C as a request to stop.

    Inside the `with` block the signals only set `name`; after it their handlers are restored.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python allows signal handlers only in the main thread.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name


class StopTime:
    """The time by which training has to have ended, from a file that may change meanwhile."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._wall = wall
        self._now = now
        self._read_at = -math.inf
        self._stop_at = math.inf

    def seconds_left(self) -> float:
        """Seconds until that time, negative after it; infinite where there is none."""
        if self._file is not None and self._now() - self._read_at >= _LOOK_SECONDS:
            found = read_stop_time(self._file)
            self._stop_at = math.inf if found is None else found.timestamp()
            self._read_at = self._now()
        return self._stop_at - self._wall()
