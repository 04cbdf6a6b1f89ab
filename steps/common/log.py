"""Logging: one event per line on stderr, `time level event key=value ...`."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, TextIO

from argotune.steps.common.printable import printable, takes_escapes

CLEAR_LINE = "\x1b[K"
"""Escape sequence that clears a terminal's line from the cursor to its end."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/@+%()[]<>")
_USER_IN_URL = re.compile(r"(https?://)[^\s/@\"']+@")
_QUERY_IN_URL = re.compile(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]*")


def set_up() -> None:
    """Send events of steps to stderr, and of libraries only warnings and errors."""
    handler = _Stderr(sys.stderr)
    handler.setFormatter(formatter("%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("argotune").setLevel(logging.INFO)


def formatter(time_format: str) -> logging.Formatter:
    """A formatter of lines `time level event`, with the time in UTC."""
    made = _RedactingFormatter("%(asctime)s %(levelname)s %(message)s", time_format)
    made.converter = time.gmtime
    return made


def redact_urls(text: str) -> str:
    """Remove user, password and query from the URLs in a text, because they may hold tokens.

    Events of steps have none; messages of libraries may.
    """
    return _QUERY_IN_URL.sub(r"\1", _USER_IN_URL.sub(r"\1", text))


class _Stderr(logging.StreamHandler[TextIO]):
    def emit(self, record: logging.LogRecord) -> None:
        # A live progress line may be on the terminal's current line.
        if takes_escapes(self.stream):
            self.stream.write(CLEAR_LINE)
        super().emit(record)


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # `kubectl logs` prints it as it is.
        return printable(redact_urls(super().format(record)))


def event(logger: logging.Logger, name: str, /, **values: Any) -> None:
    """Log one event at level INFO with `key=value` pairs; values are quoted where needed."""
    logger.info("%s", line(name, **values))


def warn(logger: logging.Logger, name: str, /, **values: Any) -> None:
    """Log one event at level WARNING: the user may want to act on it."""
    logger.warning("%s", line(name, **values))


def line(name: str, /, **values: Any) -> str:
    """The event as one line of text."""
    return " ".join([name, *(f"{key}={_text(value)}" for key, value in values.items())])


def _text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and set(text) <= _PLAIN else json.dumps(text, ensure_ascii=False)
