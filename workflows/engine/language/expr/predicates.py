"""The built-ins that evaluate an expression for each element: filter, map, reduce and others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from argotune.workflows.engine.errors import ExpressionError

Body = Callable[[Any, int, Any], Any]
"""Called with an element, its index and, in reduce, the accumulator."""


def without_closure(name: str, items: list[Any]) -> Any:
    """`count(list)` and `sum(list)`, which need no predicate. Raises ExpressionError for others."""
    if name == "count":
        return sum(1 for item in items if item is True)
    if name == "sum":
        return sum(items)
    raise ExpressionError(f"{name} needs a predicate, like {name}(list, # > 1)")


def apply(name: str, items: list[Any], body: Body, rest: list[Any]) -> Any:
    """The result of `name` over `items`; `rest` are its arguments after the predicate.

    Raises ExpressionError.
    """
    match name:
        case "map":
            return [body(item, index, None) for index, item in enumerate(items)]
        case "sum":
            return sum(body(item, index, None) for index, item in enumerate(items))
        case "groupBy":
            return _group_by(items, body)
        case "sortBy":
            descending = rest[:1] == ["desc"]
            keys = [body(item, index, None) for index, item in enumerate(items)]
            order = sorted(range(len(items)), key=keys.__getitem__, reverse=descending)
            return [items[index] for index in order]
        case "reduce":
            return _reduce(items, body, rest)
    return _select(name, items, _hits(name, items, body))


def _hits(name: str, items: list[Any], body: Body) -> list[int]:
    """The indexes of the elements for which the predicate is true."""
    found = []
    for index, item in enumerate(items):
        answer = body(item, index, None)
        if not isinstance(answer, bool):
            raise ExpressionError(f"{name}'s predicate must be true or false, got {answer!r}")
        if answer:
            found.append(index)
    return found


def _select(name: str, items: list[Any], hits: list[int]) -> Any:
    match name:
        case "all":
            return len(hits) == len(items)
        case "none":
            return not hits
        case "any":
            return bool(hits)
        case "one":
            return len(hits) == 1
        case "count":
            return len(hits)
        case "filter":
            return [items[index] for index in hits]
        case "find":
            return items[hits[0]] if hits else None
        case "findIndex":
            return hits[0] if hits else -1
        case "findLast":
            return items[hits[-1]] if hits else None
        case "findLastIndex":
            return hits[-1] if hits else -1
    raise ExpressionError(f"unknown function {name}")


def _group_by(items: list[Any], body: Body) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for index, item in enumerate(items):
        groups.setdefault(body(item, index, None), []).append(item)
    return groups


def _reduce(items: list[Any], body: Body, rest: list[Any]) -> Any:
    if not items and not rest:
        raise ExpressionError("reduce of an empty list needs an initial value")
    accumulator = rest[0] if rest else items[0]
    for index in range(0 if rest else 1, len(items)):
        accumulator = body(items[index], index, accumulator)
    return accumulator
