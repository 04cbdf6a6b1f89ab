"""A step's log beside stderr: its end as a result for Argo, and all of it on the run's volume.

Both outlive the pod. The end is kept up to date line by line, because a process that the kernel
kills for its memory writes nothing any more.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections import deque
from pathlib import Path

from argotune.steps.common import log

TAIL = "log"
"""The result's name, beside those of the step's own Result."""
TAIL_LINES = 50
_LINE_CHARACTERS = 2000


class LogFiles(logging.Handler):
    """Writes every line to both files; a file that cannot be written is given up, not the step."""

    def __init__(self, step: str, *, outputs_dir: Path | None, logs_dir: Path | None) -> None:
        super().__init__()
        self.setFormatter(log.formatter("%Y-%m-%dT%H:%M:%SZ"))
        self._tail = outputs_dir / TAIL if outputs_dir is not None else None
        self._whole = logs_dir / f"{step}.log" if logs_dir is not None else None
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)

    def begin(self, attempt: int) -> None:
        """Say in the volume's file whose lines follow: the pod, and which try of the step it is."""
        text = log.line("begin", pod=platform.node(), attempt=attempt)
        self._append(self.format(logging.makeLogRecord({"levelname": "INFO", "msg": text})))

    def succeed(self) -> None:
        """Empty the end of the log: that is a result of failed steps."""
        self._lines.clear()
        self._write_tail()

    def note(self, text: str) -> None:
        """Write an error's line, which goes to stderr by itself."""
        self.emit(logging.makeLogRecord({"levelname": "ERROR", "msg": text}))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event."""
        for text in self.format(record).splitlines():
            self._lines.append(text[:_LINE_CHARACTERS])
            self._append(text)
        self._write_tail()

    def _append(self, text: str) -> None:
        if self._whole is None:
            return
        try:
            self._whole.parent.mkdir(parents=True, exist_ok=True)
            with self._whole.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        except OSError as error:
            _warn(self._whole, error)
            self._whole = None

    def _write_tail(self) -> None:
        if self._tail is None:
            return
        temporary = self._tail.with_name(f".{TAIL}.part")
        try:
            self._tail.parent.mkdir(parents=True, exist_ok=True)
            # Without fsync, unlike other files: it is for the pod's own lifetime.
            temporary.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")
            temporary.replace(self._tail)
        except OSError as error:
            _warn(self._tail, error)
            self._tail = None


def _warn(path: Path, error: OSError) -> None:
    # Not through logging, which would come back here.
    print(f"warning: no more log in {path}: {error.strerror}", file=sys.stderr, flush=True)
