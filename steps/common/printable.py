"""Text for a terminal: no character of it may steer the terminal or reorder the line."""

from __future__ import annotations

import re

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
