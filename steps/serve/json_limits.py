"""What a JSON text may not have: too much, found in its bytes before anything is made of it.

A parser and a validator take far longer than the bytes took to arrive: 200,000 empty objects are
600 KB, and nine seconds of validation with 15 MB of problems. A name that is there twice is refused
too, because the parser of the routes would pass over the first in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

MOST_VALUES = 10_000
"""Of all objects and lists together, members and items included."""
MOST_LEVELS = 64
_MOST_DIGITS = 400
"""Of one number; the largest finite float has 309."""

# A quote that ends a string is optional, so that an endless one costs no search back.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (_MOST_DIGITS + 1))


def json_excess(text: bytes) -> str | None:
    """What is too much in a text that is said to be JSON, or None; a millisecond per 100 KB."""
    # JSON of the net is UTF-8, without NUL; Python's parser would guess UTF-16 and UTF-32.
    if b"\0" in text or not _is_utf8(text):
        return "the body is not UTF-8"
    # First by the quotes alone, because many strings take long to be left out.
    if text.count(b'"') - text.count(rb"\"") > 4 * MOST_VALUES:
        return _too_many_values()
    bare = _STRING.sub(b"", text)
    if _LONG_NUMBER.search(bare):
        return f"a number of the body has over {_MOST_DIGITS} digits"
    structure = bare.translate(None, delete=_ALL_BUT_STRUCTURE)
    if len(structure) - structure.count(b"]") - structure.count(b"}") > MOST_VALUES:
        return _too_many_values()
    if _levels(structure) > MOST_LEVELS:
        return f"the body is nested deeper than {MOST_LEVELS} levels"
    return None


class _RepeatedName(Exception):
    """A name that an object has twice."""


def repeated_name(text: bytes) -> str | None:
    """Say which name an object of the text has twice, or None, also for what is no JSON.

    The text has no excess.
    """
    try:
        json.loads(text, object_pairs_hook=_once)
    except _RepeatedName as error:
        return f"the body has {error} twice in one object; give it once"
    except ValueError:
        return None
    return None


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _RepeatedName(repr(name))
        found[name] = value
    return found


def _too_many_values() -> str:
    return f"the body has over {MOST_VALUES} values"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _levels(structure: bytes) -> int:
    level = deepest = 0
    for character in structure:
        if character in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif character in b"]}":
            level -= 1
    return deepest
