"""The functions that an expression may call: expr-lang's built-ins and Argo's own."""

from __future__ import annotations

import base64
import json
import math
import statistics
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.govalues import go_json, go_string, parse_duration

Function = Callable[..., Any]


def _int(value: Any) -> int:
    if isinstance(value, bool):
        raise ExpressionError("invalid argument for int (type bool)")
    if isinstance(value, str):
        try:
            return int(value, 10)
        except ValueError:
            raise ExpressionError(f"invalid value for int({value})") from None
    return int(value)


def _float(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise ExpressionError(f"invalid value for float({value})") from None


def _round(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)  # halves go away from zero


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if not separator:
        return list(text)
    return text.split(separator, count - 1 if count > 0 else -1)


def _split_after(text: str, separator: str, count: int = -1) -> list[str]:
    parts = _split(text, separator, count)
    return [part + separator for part in parts[:-1]] + parts[-1:]


def _flat_numbers(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found.extend(_flat_numbers(value) if isinstance(value, list) else [value])
    return found


def _extreme(pick: Callable[[list[Any]], Any]) -> Function:
    def function(*values: Any) -> Any:
        flat = _flat_numbers(values)
        return pick(flat) if flat else None

    return function


def _mean(*values: Any) -> float:
    flat = _flat_numbers(values)
    return statistics.fmean(flat) if flat else 0.0


def _median(*values: Any) -> float:
    flat = _flat_numbers(values)
    return float(statistics.median(flat)) if flat else 0.0


def _flatten(values: list[Any]) -> list[Any]:
    return list(
        chain.from_iterable(
            _flatten(value) if isinstance(value, list) else [value] for value in values
        )
    )


def _uniq(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if not any(type(value) is type(seen) and value == seen for seen in found):
            found.append(value)
    return found


def _first(values: list[Any] | str) -> Any:
    return values[0] if values else None


def _last(values: list[Any] | str) -> Any:
    return values[-1] if values else None


def _sort(values: list[Any], order: str = "asc") -> list[Any]:
    if order not in ("asc", "desc"):
        raise ExpressionError(f"invalid order {order!r}, expected asc or desc")
    return sorted(values, reverse=order == "desc")


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ExpressionError(f"invalid JSON {text!r}: {error}") from None


def _jsonpath(text: str, path: str) -> Any:
    # Its library takes 50 ms to import, and few workflows use it.
    from argotune.workflows.engine.language.expr.jsonpath import query

    return query(_from_json(text), path)


def _from_base64(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "map"
        case _:
            return "func" if callable(value) else "unknown"


def _date(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ExpressionError(
            f"invalid date {text!r}: expected 2006-01-02 or 2006-01-02T15:04:05Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


FUNCTIONS: dict[str, Function] = {
    # Argo's own
    "asInt": _int,
    "asFloat": _float,
    "jsonpath": _jsonpath,
    "toJson": go_json,
    # expr-lang's
    "abs": abs,
    "ceil": lambda value: float(math.ceil(value)),
    "floor": lambda value: float(math.floor(value)),
    "round": _round,
    "int": _int,
    "float": _float,
    "string": go_string,
    "len": len,
    "type": _type_name,
    "trim": lambda text, characters=None: text.strip(characters),
    "trimPrefix": lambda text, prefix=" ": text.removeprefix(prefix),
    "trimSuffix": lambda text, suffix=" ": text.removesuffix(suffix),
    "upper": str.upper,
    "lower": str.lower,
    "split": _split,
    "splitAfter": _split_after,
    "replace": _replace,
    "repeat": lambda text, count: text * count,
    "join": lambda values, separator="": separator.join(values),
    "indexOf": str.find,
    "lastIndexOf": str.rfind,
    "hasPrefix": str.startswith,
    "hasSuffix": str.endswith,
    "max": _extreme(max),
    "min": _extreme(min),
    "mean": _mean,
    "median": _median,
    "toJSON": lambda value: go_json(value, indent=2),
    "fromJSON": _from_json,
    "toBase64": lambda text: base64.b64encode(text.encode()).decode(),
    "fromBase64": _from_base64,
    "now": lambda: datetime.now(UTC),
    "duration": parse_duration,
    "date": _date,
    "first": _first,
    "last": _last,
    "take": lambda values, count: values[:count],
    "keys": lambda mapping: list(mapping),
    "values": lambda mapping: list(mapping.values()),
    "toPairs": lambda mapping: [[key, value] for key, value in mapping.items()],
    "fromPairs": lambda pairs: {pair[0]: pair[1] for pair in pairs},
    "reverse": lambda values: values[::-1],
    "uniq": _uniq,
    "concat": lambda *lists: list(chain.from_iterable(lists)),
    "flatten": _flatten,
    "sort": _sort,
    "bitand": lambda left, right: left & right,
    "bitor": lambda left, right: left | right,
    "bitxor": lambda left, right: left ^ right,
    "bitnand": lambda left, right: left & ~right,
    "bitnot": lambda value: ~value,
    "bitshl": lambda value, count: value << count,
    "bitshr": lambda value, count: value >> count,
}
