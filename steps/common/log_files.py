"""A step's log in files: its last lines as an Argo output, and the whole log on the run's volume.

Both outlive the pod. The file of the last lines is rewritten with every line, because a process
that the kernel kills for its memory use cannot write it at its end.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections import deque
from pathlib import Path

from argotune.steps.common import log

TAIL = "log"
"""Name of the output, in addition to those of the step's Result."""
TAIL_LINES = 50
_LINE_CHARACTERS = 2000


class LogFiles(logging.Handler):
    """Writes every line to both files; a write error ends the writing, not the step."""

    def __init__(self, step: str, *, outputs_dir: Path | None, logs_dir: Path | None) -> None:
        super().__init__()
        self.setFormatter(log.formatter("%Y-%m-%dT%H:%M:%SZ"))
        self._tail = outputs_dir / TAIL if outputs_dir is not None else None
        self._whole = logs_dir / f"{step}.log" if logs_dir is not None else None
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)

    def begin(self, attempt: int) -> None:
        """Write a heading with the pod's name and the attempt into the volume's file."""
        text = log.line("begin", pod=platform.node(), attempt=attempt)
        self._append(self.format(logging.makeLogRecord({"levelname": "INFO", "msg": text})))

    def succeed(self) -> None:
        """Empty the file of the last lines: only failed steps have that output."""
        self._lines.clear()
        self._write_tail()

    def note(self, text: str) -> None:
        """Write the line of an error that the caller prints to stderr itself."""
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
            # Without fsync, unlike other files: Argo reads it while the pod exists.
            temporary.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")
            temporary.replace(self._tail)
        except OSError as error:
            _warn(self._tail, error)
            self._tail = None


def _warn(path: Path, error: OSError) -> None:
    # Not through logging, which would call this handler again.
    print(f"warning: cannot write log {path}: {error.strerror}", file=sys.stderr, flush=True)
