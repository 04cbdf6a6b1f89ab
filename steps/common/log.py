"""Logs: one event a line on stderr, `time level event key=value ...`."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, TextIO

from argotune.steps.common.errors import Interrupted

CLEAR_LINE = "\x1b[K"
"""Clears a terminal's line from the cursor on."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/@+%()[]<>")
_USER_IN_URL = re.compile(r"(https?://)[^\s/@\"']+@")
_QUERY_IN_URL = re.compile(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]*")


def set_up() -> None:
    """Send the steps' events to stderr; libraries speak from warnings on."""
    handler = _Stderr(sys.stderr)
    handler.setFormatter(formatter("%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("argotune").setLevel(logging.INFO)


def formatter(time_format: str) -> logging.Formatter:
    """One event a line, `time level event`; the time is UTC."""
    made = _Redacting("%(asctime)s %(levelname)s %(message)s", time_format)
    made.converter = time.gmtime
    return made


def redacted(text: str) -> str:
    """The text with the URLs in it shorn of users and queries, which may hold tokens. Our own
    events have none; a library's may."""
    return _QUERY_IN_URL.sub(r"\1", _USER_IN_URL.sub(r"\1", text))


class _Stderr(logging.StreamHandler[TextIO]):
    """Does not swallow the order to stop: SIGTERM raises it wherever the process is, here too."""

    def emit(self, record: logging.LogRecord) -> None:
        # A live line may stand where the next log line goes.
        if self.stream.isatty():
            self.stream.write(CLEAR_LINE)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if isinstance(error, Interrupted):
            raise error
        super().handleError(record)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def event(logger: logging.Logger, name: str, /, **values: Any) -> None:
    """Log one event, with its values as `key=value`, quoted where needed."""
    logger.info("%s", line(name, **values))


def warn(logger: logging.Logger, name: str, /, **values: Any) -> None:
    """Log one event that the user may want to act on."""
    logger.warning("%s", line(name, **values))


def line(name: str, /, **values: Any) -> str:
    """The event as one line of text."""
    return " ".join([name, *(f"{key}={_text(value)}" for key, value in values.items())])


def _text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and set(text) <= _PLAIN else json.dumps(text, ensure_ascii=False)
