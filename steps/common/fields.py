"""Step parameters: flags, template inputs and reference pages from one frozen dataclass.

A field's type is one of str, int, float, bool, Path, tuple[str, ...], a Literal of strings, or
one of these with None or with a Literal of words that stand for no value. On the command line and
in Argo every value is a string: None is the empty string, a bool is true or false, a tuple is a
JSON list.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from argotune.steps.common.errors import ParamsError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One parameter as a flag and as a template input."""

    name: str
    """Name of the field in Python."""
    kebab: str
    """Name of the flag (without dashes) and of the Argo parameter."""
    doc: str
    """The docstring under the field, on one line."""
    kind: type
    """str, int, float, bool, Path or tuple."""
    optional: bool
    """Whether None, written as the empty string, is accepted."""
    choices: tuple[str, ...]
    """The accepted values of a Literal, else empty."""
    words: tuple[str, ...]
    """What is accepted beside the values of the kind, such as `not measured` beside numbers."""
    default: str | None
    """The default as a string; None if the field is required."""


def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a parameter dataclass, in definition order."""
    return _fields_of(cls)


# Docstrings of fields stand in the source only, and parsing it takes milliseconds.
@functools.cache
def _fields_of(cls: type) -> tuple[Field, ...]:
    docs = _docstrings(cls)
    hints = typing.get_type_hints(cls)
    return tuple(_field(field, hints[field.name], docs) for field in dataclasses.fields(cls))


def parse_fields(cls: type[T], values: Mapping[str, str]) -> T:
    """Build the dataclass from a mapping of kebab-case names to strings.

    Raises ParamsError with all problems: unknown and missing names, values of the wrong type,
    and the problems that the dataclass's own `__post_init__` raises.
    """
    known = {field.kebab: field for field in fields_of(cls)}
    problems = [
        f"--{name}: unknown; known are {', '.join(sorted(known))}" for name in values.keys() - known
    ]
    arguments: dict[str, Any] = {}
    for field in known.values():
        if field.kebab not in values:
            if field.default is None:
                problems.append(f"--{field.kebab}: missing; {field.doc}")
            continue
        try:
            arguments[field.name] = _value(field, values[field.kebab])
        except ValueError as error:
            problems.append(f"--{field.kebab}: {error}")
    if problems:
        raise ParamsError(problems)
    return cls(**arguments)


def text_of(value: object) -> str:
    """A field's value as a string that `parse_fields` can parse and Argo shows.

    Floats have six significant digits.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return json.dumps(list(value), ensure_ascii=False)
    return str(value)


def _field(field: dataclasses.Field[Any], hint: Any, docs: Mapping[str, str]) -> Field:
    kind, optional, choices, words = _kind(hint)
    return Field(
        name=field.name,
        kebab=field.name.replace("_", "-"),
        doc=docs.get(field.name, ""),
        kind=kind,
        optional=optional,
        choices=choices,
        words=words,
        default=None if field.default is dataclasses.MISSING else text_of(field.default),
    )


def _kind(hint: Any) -> tuple[type, bool, tuple[str, ...], tuple[str, ...]]:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        first, *others = typing.get_args(hint)
        kind, _, choices, _ = _kind(first)
        words = tuple(word for other in others for word in typing.get_args(other))
        return kind, types.NoneType in others, choices, words
    if origin is Literal:
        return str, False, tuple(typing.get_args(hint)), ()
    if origin is tuple:
        return tuple, False, (), ()
    return hint, False, (), ()


def _value(field: Field, text: str) -> object:
    if field.optional and text == "":
        return None
    if text in field.words:
        return text
    if field.choices and text not in field.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(map(repr, field.choices))}")
    try:
        return _READERS[field.kind](text)
    except ValueError as error:
        raise ValueError(" or ".join([str(error), *map(repr, field.words)])) from None


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither 'true' nor 'false'")
    return text == "true"


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _tuple(text: str) -> tuple[str, ...]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError(f'{text!r} is not a JSON list of strings, such as ["a", "b"]')
    return tuple(items)


_READERS: Mapping[type, Any] = {
    str: str,
    int: _int,
    float: _float,
    bool: _bool,
    Path: Path,
    tuple: _tuple,
}


def _docstrings(cls: type) -> dict[str, str]:
    """The string literal under each field of the class and of its base classes."""
    docs: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            docs |= _own_docstrings(each)
    return docs


def _own_docstrings(cls: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    definition = tree.body[0]
    if not isinstance(definition, ast.ClassDef):
        return {}
    docs: dict[str, str] = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[field.target.id] = " ".join(str(after.value.value).split())
    return docs
