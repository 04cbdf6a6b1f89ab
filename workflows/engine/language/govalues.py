"""Values as Go writes and reads them: Argo's text of values, JSON and durations."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

from argotune.workflows.engine.errors import ExpressionError

# encoding/json escapes these inside strings, so that JSON can stand inside HTML.
_HTML_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def go_json(value: Any, *, indent: int | None = None) -> str:
    """`value` as encoding/json writes it: sorted keys, no spaces, `<`, `>` and `&` escaped."""
    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(
        _with_go_numbers(value),
        ensure_ascii=False,
        sort_keys=True,
        separators=separators,
        indent=indent,
        allow_nan=False,
    )
    return text.translate(_HTML_ESCAPES)


def go_string(value: Any) -> str:
    """`value` as fmt's `%v` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case float():
            return _float(value, exponent_from=21 if math.isinf(value) else 6)
        case list():
            return "[" + " ".join(go_string(item) for item in value) + "]"
        case dict():
            pairs = (f"{go_string(key)}:{go_string(value[key])}" for key in sorted(value))
            return "map[" + " ".join(pairs) + "]"
        case _:
            return str(value)


def any_string(value: Any) -> str:
    """A parameter's value as text; Argo accepts strings, numbers and booleans."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value, exponent_from=400)
        case str() | int():
            return str(value)
        case _:
            return go_json(value)


def _with_go_numbers(value: Any) -> Any:
    """Whole floats as integers, as encoding/json writes them."""
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case list() | tuple():
            return [_with_go_numbers(item) for item in value]
        case dict():
            return {str(key): _with_go_numbers(item) for key, item in value.items()}
        case _:
            return value


def _float(value: float, *, exponent_from: int) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(value))
    sign, digits, _ = number.normalize().as_tuple()
    exponent = number.adjusted() if value else 0
    if -4 <= exponent < exponent_from:
        plain = format(number.normalize() if value else Decimal(0), "f")
        return plain if value or math.copysign(1, value) > 0 else "-0"
    text = "".join(map(str, digits))
    mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def parse_duration_seconds(value: Any) -> float:
    """The seconds of `"90"`, `90` or `"1m30s"`. Raises ExpressionError if it is no duration."""
    text = str(value).strip()
    if text.isdigit():
        return float(text)
    return parse_duration(text).total_seconds()


def parse_duration(text: str) -> timedelta:
    """A duration in Go's form: `1h30m`, `500ms`, `-2s`. Raises ExpressionError."""
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    sign, rest = (-1 if text.startswith("-") else 1), text.lstrip("+-")
    if rest == "0":
        return timedelta()
    seconds, number, position = 0.0, "", 0
    while position < len(rest):
        if rest[position].isdigit() or rest[position] == ".":
            number += rest[position]
            position += 1
            continue
        unit = next(
            (u for u in units if rest.startswith(u, position) and _ends(rest, position, u)), ""
        )
        if not unit or not number or number.count(".") > 1 or number == ".":
            raise ExpressionError(f"invalid duration {text!r}, expected one like 1h30m, 10s, 500ms")
        seconds += float(number) * units[unit]
        number, position = "", position + len(unit)
    if number or not rest:
        raise ExpressionError(f"invalid duration {text!r}, expected one like 1h30m, 10s, 500ms")
    return timedelta(seconds=sign * seconds)


def _ends(text: str, position: int, unit: str) -> bool:
    """Whether `unit` is the whole unit at `position`: `m` is not, at the start of `ms`."""
    after = text[position + len(unit) : position + len(unit) + 1]
    return not after or after.isdigit() or after == "."
