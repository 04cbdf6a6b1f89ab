"""Keys that stand twice in one JSON object, of which readers of JSON silently keep the last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any


class RepeatedKey(ValueError):
    """An object has a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f"it has the key {key!r} twice")
        self.key = key


def repeated_key(text: bytes, value: object) -> str | None:
    """Return a key that an object of the JSON text has twice; None without one.

    `value` is what the text was read as. Its keys are counted first, and only where the text may
    have more of them it is read once more, since that takes ten times as long.
    """
    try:
        # A quoted word in a string, \": in the text, is no key.
        if text.count(b'":') - text.count(b'\\":') == _count_keys(value):
            return None
        json.loads(text, object_pairs_hook=object_of)
    except RepeatedKey as error:
        return error.key
    except (ValueError, RecursionError):
        # Whoever read the text reports what is wrong with it.
        return None
    return None


def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys and values. Raises RepeatedKey."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedKey(first_repeated(pairs))
    return found


def first_repeated(pairs: Sequence[tuple[str, object]]) -> str:
    """Return the first key of several that stands twice."""
    keys = Counter(key for key, _ in pairs)
    return next(key for key, count in keys.items() if count > 1)


def _count_keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    if isinstance(value, list):
        return sum(map(_count_keys, value))
    return 0
