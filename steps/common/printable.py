"""Text for a terminal: no character of it may steer the terminal or reorder the line."""

from __future__ import annotations

import os
import re
from typing import TextIO

# C0 and C1 controls but newline and tab, the characters of Unicode's property Bidi_Control, and
# lone surrogates, which no stream can encode.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""`text` with each control character as its code, such as `\u001b` for ESC.

    Newline and tab stay. The code is one that JSON reads, so JSON stays the same value.
    """
    return _STEERING.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def takes_escapes(stream: TextIO) -> bool:
    """Whether colours and movements of the cursor may be written to the stream, a terminal."""
    return stream.isatty() and not wants_plain_text()


def wants_plain_text() -> bool:
    """Whether the user or the terminal takes text only: NO_COLOR is set, or TERM is dumb.

    https://no-color.org speaks of colours alone; whoever sets it wants output to be kept and read
    as text, without bold and cursor movements too.
    """
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
