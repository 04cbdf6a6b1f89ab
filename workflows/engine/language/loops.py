"""`withItems`, `withParam` and `withSequence`: their items, and the names of their nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.govalues import go_json
from argotune.workflows.engine.language.substitute import Scope, substitute, substitute_text
from argotune.workflows.engine.model import JsonObject

_FORMAT = re.compile(
    r"%(?P<flags>[-+ 0#]*)(?P<width>\d*)(?:\.(?P<precision>\d+))?(?P<verb>[dxXobvc])"
)


@dataclass(frozen=True, slots=True)
class LoopItem:
    """One turn of a loop: the step's name in it, and the variables `item` and `item.*`."""

    name: str
    variables: Mapping[str, str]


def is_loop(step: JsonObject) -> bool:
    """Whether a step or task has one of the three loops."""
    return any(step.get(key) for key in ("withItems", "withParam", "withSequence"))


def loop_items(step: JsonObject, scope: Scope, strict: tuple[str, ...]) -> list[LoopItem]:
    """The turns of the step's loop. Raises ExpressionError if its items cannot be read."""
    return [
        _turn(step["name"], index, item) for index, item in enumerate(_items(step, scope, strict))
    ]


def _items(step: JsonObject, scope: Scope, strict: tuple[str, ...]) -> list[Any]:
    if step.get("withItems"):
        items: list[Any] = substitute(step["withItems"], scope, strict)
        return items
    if step.get("withParam"):
        return _parse_param(substitute_text(step["withParam"], scope, strict))
    return sequence(substitute(step["withSequence"], scope, strict))


def _parse_param(text: str) -> list[Any]:
    try:
        items = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ExpressionError(
            f"withParam value could not be parsed as a JSON list: {text.strip()}: {error}"
        ) from None
    if not isinstance(items, list):
        raise ExpressionError(f"withParam value could not be parsed as a JSON list: {text.strip()}")
    return items


def sequence(spec: JsonObject) -> list[str]:
    """The formatted numbers of a `withSequence`, both ends included, ascending or descending.

    Raises ExpressionError.
    """
    start = _number(spec, "start", 0)
    if spec.get("end") is not None:
        end = _number(spec, "end", 0)
    elif spec.get("count") is not None:
        count = _number(spec, "count", 0)
        if count == 0:
            return []
        end = start + count - 1
    else:
        raise ExpressionError("neither end nor count was specified in withSequence")
    step = 1 if start <= end else -1
    template = spec.get("format") or "%d"
    return [go_format(template, number) for number in range(start, end + step, step)]


def _number(spec: JsonObject, key: str, default: int) -> int:
    value = spec.get(key)
    if value is None:
        return default
    try:
        return int(str(value))
    except ValueError:
        raise ExpressionError(f"withSequence.{key} must be an integer, got {value!r}") from None


def go_format(template: str, number: int) -> str:
    """`number` in a Go format such as `%02d` or `testuser%02X`."""

    def replace(match: re.Match[str]) -> str:
        verb = "d" if match["verb"] == "v" else match["verb"]
        if verb == "b":
            return format(number, f"{'0' if '0' in match['flags'] else ''}{match['width']}b")
        precision = f".{match['precision']}" if match["precision"] else ""
        return f"%{match['flags']}{match['width']}{precision}{verb}" % number

    return "%".join(_FORMAT.sub(replace, part) for part in template.split("%%"))


def _turn(name: str, index: int, item: Any) -> LoopItem:
    variables, label = _describe(item)
    clean = label.replace("(", "").replace(")", "")
    return LoopItem(f"{name}({index}:{clean})", variables)


def _describe(item: Any) -> tuple[dict[str, str], str]:
    """The variables of an item, and its text in the node's name."""
    match item:
        case dict():
            variables = {f"item.{key}": _item_text(value) for key, value in item.items()}
            label = ",".join(sorted(f"{key}:{_label(value)}" for key, value in item.items()))
            return {**variables, "item": go_json(item)}, label
        case list() | None:
            # Go reads null as a list without elements.
            return {"item": go_json(item)}, "[" + " ".join(map(_label, item or [])) + "]"
        case _:
            return {"item": _item_text(item)}, _label(item)


def _item_text(value: Any) -> str:
    """An item as text: strings unchanged, other values as JSON."""
    return value if isinstance(value, str) else go_json(value)


def _label(value: Any) -> str:
    """An item in the name of a node: as JSON, without the quotes around a string."""
    text = go_json(value)
    return text[1:-1] if isinstance(value, str) else text


def loop_index(node_name: str) -> int:
    """The index in a loop node's name: 3 for `wf.task(3:blue)`."""
    return int(node_name.rsplit("(", 1)[1].split(":", 1)[0])
