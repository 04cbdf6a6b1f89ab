"""A progress line on the terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from argotune.steps.common.log import CLEAR_LINE
from argotune.steps.common.printable import takes_escapes

Record = Mapping[str, Any]

_INTERVAL_SECONDS = 0.2


class LiveLine:
    """Shows the newest record if stderr is a terminal; log lines appear above it."""

    def __init__(
        self,
        steps: int,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = takes_escapes(self._stream)
        self._held_out: float | None = None
        self._begin: tuple[int, float] | None = None
        self._next_write = 0.0

    def rewind(self, records: Sequence[Record]) -> None:
        """Start measuring the time."""
        self._begin = (max((record["step"] for record in records), default=0), self._clock())

    def add(self, record: Record) -> None:
        """Show a record."""
        if not self._is_terminal:
            return
        self._held_out = record.get("eval_loss", self._held_out)
        if "loss" not in record:
            return
        if record["step"] < self._steps and self._clock() < self._next_write:
            return
        self._next_write = self._clock() + _INTERVAL_SECONDS
        width = shutil.get_terminal_size().columns - 1
        # The cursor returns to the start of the line, so that the next log line overwrites it.
        self._stream.write(f"{CLEAR_LINE}{self._text(record)[:width]}\r")
        self._stream.flush()

    def close(self, succeeded: bool) -> None:
        """End the line, so that later output starts on a new one."""
        if self._is_terminal:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()

    def _text(self, record: Record) -> str:
        parts = [f"step {record['step']}/{self._steps}", f"loss {record['loss']:.3f}"]
        if self._held_out is not None:
            parts.append(f"held out {self._held_out:.3f}")
        parts += [
            f"lr {record['learning_rate']:.1e}",
            f"{record['tokens_per_second']:,.0f} tokens/s",
            f"{record['memory_gb']:.1f} GB",
        ]
        left = self._seconds_left(record["step"])
        return "  ".join(parts if left is None else [*parts, f"{_clock_text(left)} left"])

    def _seconds_left(self, step: int) -> float | None:
        if self._begin is None or step <= self._begin[0]:
            return None
        per_step = (self._clock() - self._begin[1]) / (step - self._begin[0])
        return per_step * (self._steps - step)


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
