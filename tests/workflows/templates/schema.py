"""Argo's types, as hera's generated models know them, without hera's leniency: those drop a
field that they do not know."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel


def unknown_fields(model: Any, value: object, path: str = "") -> list[str]:
    """The paths of keys in `value` that the type `model` does not have, at every depth."""
    if isinstance(value, dict):
        return _of_object(model, value, path)
    if isinstance(value, list):
        items = _items_of(model)
        return [
            problem
            for index, item in enumerate(value)
            for problem in unknown_fields(items, item, f"{path}[{index}]")
        ]
    return []


def _of_object(model: Any, value: dict[str, object], path: str) -> list[str]:
    candidates = [_of_one(option, value, path) for option in _options(model)]
    # An object of a union is right when it is right for one of the types.
    return min(candidates, key=len) if candidates else [f"{path}: an object where none may be"]


def _of_one(option: Any, value: dict[str, object], path: str) -> list[str]:
    if option is Any:
        return []
    if typing.get_origin(option) is dict:
        inner = typing.get_args(option)[1]
        return [
            p for key, item in value.items() for p in unknown_fields(inner, item, f"{path}.{key}")
        ]
    if not (isinstance(option, type) and issubclass(option, BaseModel)):
        return [f"{path}: an object where {option} is expected"]
    fields = {field.alias or name: field.annotation for name, field in option.model_fields.items()}
    if set(fields) == {"root"}:
        return unknown_fields(fields["root"], value, path)
    problems = []
    for key, item in value.items():
        if key not in fields:
            problems.append(f"{path}.{key}")
            continue
        problems += unknown_fields(fields[key], item, f"{path}.{key}")
    return problems


def _items_of(model: Any) -> Any:
    lists = [option for option in _options(model) if typing.get_origin(option) is list]
    return typing.get_args(lists[0])[0] if lists else Any


def _options(model: Any) -> list[Any]:
    origin = typing.get_origin(model)
    if origin is typing.Annotated:
        return _options(typing.get_args(model)[0])
    if origin in (typing.Union, types.UnionType):
        return [inner for option in typing.get_args(model) for inner in _options(option)]
    return [] if model is types.NoneType else [model]
