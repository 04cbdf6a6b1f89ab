"""JSONPath in `jsonpath(text, path)`: members, indexes, slices, wildcards and descent."""

from __future__ import annotations

import re
from typing import Any

from argotune.workflows.engine.errors import ExpressionError

_STEP = re.compile(
    r"""
    \.\.(?P<deep>\*|[\w-]+)
  | \.(?P<name>\*|[\w-]+)
  | \[\s*(?:(?P<quote>['"])(?P<key>(?:(?!(?P=quote)).)*)(?P=quote)
      | (?P<star>\*)
      | (?P<slice>-?\d*:-?\d*)
      | (?P<index>-?\d+))\s*\]
    """,
    re.VERBOSE,
)


def query(document: Any, path: str) -> Any:
    """The value at `path`, or a list of values if the path may match several.

    Raises ExpressionError.
    """
    if not path.startswith("$"):
        raise ExpressionError(f"invalid JSONPath {path!r}: it must begin with $")
    values, several, offset = [document], False, 1
    while offset < len(path):
        match = _STEP.match(path, offset)
        if match is None:
            raise ExpressionError(
                f"unsupported JSONPath {path!r} at {path[offset:]!r}: members, indexes, slices, "
                "* and .. are supported, filters are not"
            )
        several = several or _may_match_several(match)
        values = [found for value in values for found in _step(value, match)]
        offset = match.end()
    if several:
        return values
    if not values:
        raise ExpressionError(f"JSONPath {path!r} finds nothing")
    return values[0]


def _may_match_several(match: re.Match[str]) -> bool:
    return bool(match["deep"] or match["star"] or match["slice"] or match["name"] == "*")


def _step(value: Any, match: re.Match[str]) -> list[Any]:
    if match["deep"]:
        return _descend(value, match["deep"])
    if match["star"] or match["name"] == "*":
        return _children(value)
    if match["slice"]:
        start, stop = (int(part) if part else None for part in match["slice"].split(":"))
        return value[start:stop] if isinstance(value, list) else []
    if match["index"]:
        index = int(match["index"])
        inside = isinstance(value, list) and -len(value) <= index < len(value)
        return [value[index]] if inside else []
    key = match["name"] if match["name"] is not None else match["key"]
    return [value[key]] if isinstance(value, dict) and key in value else []


def _children(value: Any) -> list[Any]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return list(value)
    return []


def _descend(value: Any, name: str) -> list[Any]:
    found = _children(value) if name == "*" else []
    if isinstance(value, dict) and name in value:
        found = [value[name]]
    for child in _children(value):
        found.extend(_descend(child, name))
    return found
