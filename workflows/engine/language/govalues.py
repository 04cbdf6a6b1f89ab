"""Values as Go prints them: what Argo writes when it turns a value into text."""

import json
import math
from decimal import Decimal
from typing import Any

# encoding/json escapes these inside strings, so that JSON can stand inside HTML.
_HTML_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def go_json(value: Any, *, indent: int | None = None) -> str:
    """``value`` as encoding/json writes it: sorted keys, no spaces, ``<``, ``>``, ``&`` escaped."""
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
    """``value`` as fmt's ``%v`` prints it."""
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
    """A parameter's value as text: Argo takes strings, numbers and booleans and keeps strings."""
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
