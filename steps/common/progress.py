"""Progress as Argo reads it: `N/M` on the last line of the file named by $ARGO_PROGRESS_FILE."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


class Progress:
    """Writes `done/total`, at most once per interval, and the end always.

    Without a file (the step runs outside of Argo) updates do nothing.
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
        """Report `done` of `total` units; Argo refuses more than the total and a total of 0."""
        if self._path is None or total <= 0:
            return
        line = f"{max(0, min(done, total))}/{total}"
        now = self._clock()
        if line == self._last or (done < total and now < self._next_write):
            return
        # Argo reads the last line of the file; a rewrite could be read half-way.
        with self._path.open("a") as file:
            file.write(line + "\n")
        self._last = line
        self._next_write = now + self._interval_seconds
