"""Logs: one event a line on stderr, `time level event key=value ...`."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/@+%()[]<>")


def set_up() -> None:
    """Send the steps' events to stderr; libraries speak from warnings on."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("steps").setLevel(logging.INFO)


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
