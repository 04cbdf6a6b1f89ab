"""Progress in Argo's format: `N/M` on the last line of the file $ARGO_PROGRESS_FILE."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


class Progress:
    """Writes `done/total` at most once per interval; the final value is always written.

    Without a file (the step runs outside Argo) updates do nothing.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        interval_seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._next_write = 0.0
        self._last = ""

    def update(self, done: int, total: int) -> None:
        """Report `done` of `total` units.

        `done` is clamped to 0..total, and a total of 0 is not written: Argo rejects both.
        """
        if self._path is None or total <= 0:
            return
        line = f"{max(0, min(done, total))}/{total}"
        now = self._clock()
        if line == self._last or (done < total and now < self._next_write):
            return
        # Argo reads the last line of the file; it could read a rewrite when only half is written.
        with self._path.open("a") as file:
            file.write(line + "\n")
        self._last = line
        self._next_write = now + self._interval_seconds
