"""The pace of a step that reports progress, and so the time that it still takes."""

from __future__ import annotations

from argotune.workflows.cli.show.rows import StepRow


class Pace:
    """How fast a step comes on, since it was first seen at work: it may load before, or resume."""

    def __init__(self) -> None:
        self._first = self._last = (0, 0.0)
        """Units done, and when that was seen, at the begin and at the newest change."""

    def seconds_left(self, row: StepRow, now_seconds: float) -> float | None:
        """Return the seconds to the end at this pace; None while there is none to measure."""
        if row.total <= 1 or row.done == 0:
            return None
        if row.done != self._last[0]:
            is_new = self._last[0] == 0 or row.done < self._last[0]
            self._last = (row.done, now_seconds)
            self._first = self._last if is_new else self._first
        done, seconds = self._last[0] - self._first[0], self._last[1] - self._first[1]
        if done == 0:
            return None
        waited = now_seconds - self._last[1]
        return max(0.0, seconds / done * (row.total - row.done) - waited)
