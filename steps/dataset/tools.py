"""Tools and their calls in OpenAI's form, from the forms that data sets have.

Chat templates expect `{"type": "function", "function": {...}}`, and the arguments of a call as an
object. Data sets also have the function alone, JSON text, arguments as JSON text (as OpenAI's API
sends them), and one call without a list.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

from argotune.steps.dataset.json_keys import object_of
from argotune.steps.dataset.message_fields import NOTHING, TOOL_CALLS, TOOLS, Refused


def read_tools(value: object) -> str | None:
    """A list of tools as JSON text, None for none. Raises Refused."""
    if isinstance(value, str):
        # Most files repeat the same few lists.
        return _read_tools_text(value)
    return _read(value, _tool, TOOLS)


def read_calls(value: object) -> str:
    """The calls of a message, or one call, as the JSON text of a list. Raises Refused."""
    return _read(value, _call, TOOL_CALLS) or _refuse(TOOL_CALLS)


@functools.lru_cache(maxsize=256)
def _read_tools_text(value: str) -> str | None:
    return _read(value, _tool, TOOLS)


def _read(value: object, read_one: Callable[[object], object], reason: str) -> str | None:
    try:
        value = _parse(value)
        if value in NOTHING:
            return None
        items = value if isinstance(value, list) else [value]
        text = json.dumps([read_one(_parse(item)) for item in items], ensure_ascii=False)
        # Half of a surrogate pair has no UTF-8 form.
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(reason) from error
    return text


def _parse(value: object) -> object:
    """The value of a JSON text, or the value itself. Raises ValueError."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    return json.loads(value, parse_constant=_refuse_constant, object_pairs_hook=object_of)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _tool(item: object) -> dict[str, Any]:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        _check_name(item["function"])
        return {"type": "function", **item}
    return {"type": "function", "function": _check_name(item)}


def _call(item: object) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError("a call is no object")
    if "function" not in item:
        return {"type": "function", "function": _with_arguments(item)}
    return {"type": "function", **item, "function": _with_arguments(item["function"])}


def _with_arguments(function: object) -> dict[str, Any]:
    named = _check_name(function)
    arguments = _parse(named.get("arguments"))
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are no object")
    return {**named, "arguments": arguments}


def _check_name(function: object) -> dict[str, Any]:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a function has no name")
    return function


def _refuse(reason: str) -> NoReturn:
    raise Refused(reason)
