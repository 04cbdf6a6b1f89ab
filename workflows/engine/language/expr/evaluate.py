"""The evaluation of expressions over an environment of plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr import predicates
from argotune.workflows.engine.language.expr.ast import (
    Binary,
    Call,
    Closure,
    Conditional,
    Expression,
    Let,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Pointer,
    Slice,
    Unary,
    is_optional,
    path_of,
)
from argotune.workflows.engine.language.expr.functions import FUNCTIONS
from argotune.workflows.engine.language.expr.parser import PREDICATES, parse
from argotune.workflows.engine.language.expr.sprig import SPRIG_FUNCTIONS

Function = Callable[..., Any]


def evaluate(source: str, env: Mapping[str, Any]) -> Any:
    """The value of `source`; names are looked up in `env` (nested dicts), then in the built-ins.

    Raises ExpressionError.
    """
    try:
        return evaluate_tree(parse(source), env)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ExpressionError):
            raise ExpressionError(f"failed to evaluate {source!r}: {error}") from error
        raise ExpressionError(f"failed to evaluate {source!r}: invalid operand: {error}") from error


def evaluate_bool(source: str, env: Mapping[str, Any]) -> bool:
    """The value of a condition. Raises ExpressionError if it is not a boolean."""
    value = evaluate(source, env)
    if not isinstance(value, bool):
        raise ExpressionError(f"{source!r} is {value!r}, expected true or false")
    return value


def evaluate_tree(node: Expression, env: Mapping[str, Any]) -> Any:
    """The value of a parsed expression."""
    return _Evaluator(env).value(node)


@dataclass(slots=True)
class _Element:
    """The values of `#`, `#index` and `#acc`."""

    value: Any
    index: int
    accumulator: Any


class _Evaluator:
    def __init__(self, env: Mapping[str, Any]) -> None:
        self._env: dict[str, Any] = dict(env)
        self._elements: list[_Element] = []

    def value(self, node: Expression) -> Any:
        match node:
            case Literal(value):
                return value
            case Name(name):
                return self._name(name)
            case Pointer(name):
                return self._pointer(name)
            case Member():
                return self._member(node)
            case Slice(target, start, stop):
                return self._slice(target, start, stop)
            case Call(function, arguments):
                return self._call(function, arguments)
            case Unary(operator, operand):
                return _unary(operator, self.value(operand))
            case Binary(operator, left, right):
                return self._binary(operator, left, right)
            case Conditional(test, then, otherwise):
                return self.value(then if _boolean(self.value(test), "?:") else otherwise)
            case Let(name, bound, body):
                with self._bound(name, self.value(bound)):
                    return self.value(body)
            case ListOf(items):
                return [self.value(item) for item in items]
            case MapOf(pairs):
                return {self.value(key): self.value(value) for key, value in pairs}
            case Closure():
                raise ExpressionError("expected a value, found a predicate")

    def _name(self, name: str) -> Any:
        if name in self._env:
            return self._env[name]
        if name == "$env":
            return self._env
        if name == "sprig":
            return SPRIG_FUNCTIONS
        if name in FUNCTIONS:
            return FUNCTIONS[name]
        raise ExpressionError(f"unknown name {name}")

    def _pointer(self, name: str) -> Any:
        if not self._elements:
            raise ExpressionError(f"#{name} outside a predicate")
        element = self._elements[-1]
        match name:
            case "":
                return element.value
            case "index":
                return element.index
            case "acc":
                return element.accumulator
        raise ExpressionError(f"unknown pointer #{name}")

    def _member(self, node: Member) -> Any:
        target = self.value(node.target)
        if target is None:
            if node.optional or is_optional(node.target):
                return None
            raise ExpressionError(f"cannot read {_label(node)} of nil")
        return _element(target, self.value(node.key))

    def _slice(self, target: Expression, start: Expression | None, stop: Expression | None) -> Any:
        value = self.value(target)
        if not isinstance(value, str | list):
            raise ExpressionError(f"cannot slice {_type(value)}")
        first = 0 if start is None else _integer(self.value(start), "a slice's start")
        last = len(value) if stop is None else _integer(self.value(stop), "a slice's end")
        return value[first:last]

    def _call(self, function: Expression, arguments: tuple[Expression, ...]) -> Any:
        if isinstance(function, Name) and function.name in PREDICATES:
            return self._predicate(function.name, arguments)
        if isinstance(function, Name) and function.name == "get":
            return _get(*(self.value(argument) for argument in arguments))
        callee = self.value(function)
        if not callable(callee):
            raise ExpressionError(f"{path_of(function) or 'this'} is not a function")
        return callee(*(self.value(argument) for argument in arguments))

    def _predicate(self, name: str, arguments: tuple[Expression, ...]) -> Any:
        if not arguments:
            raise ExpressionError(f"{name} needs a list")
        items = self.value(arguments[0])
        if not isinstance(items, list):
            raise ExpressionError(f"{name} needs a list, got {_type(items)}")
        closure = arguments[1] if len(arguments) > 1 else None
        rest = [self.value(argument) for argument in arguments[2:]]
        if closure is None:
            return predicates.without_closure(name, items)
        if not isinstance(closure, Closure):
            raise ExpressionError(f"{name} needs a predicate, like {name}(list, # > 1)")
        return predicates.apply(name, items, self._caller(closure.body), rest)

    def _caller(self, body: Expression) -> predicates.Body:
        def call(value: Any, index: int, accumulator: Any) -> Any:
            self._elements.append(_Element(value, index, accumulator))
            try:
                return self.value(body)
            finally:
                self._elements.pop()

        return call

    @contextmanager
    def _bound(self, name: str, value: Any) -> Iterator[None]:
        outer = self._env
        self._env = {**outer, name: value}
        try:
            yield
        finally:
            self._env = outer

    def _binary(self, operator: str, left: Expression, right: Expression) -> Any:
        first = self.value(left)
        match operator:
            case "&&":
                return _boolean(first, operator) and _boolean(self.value(right), operator)
            case "||":
                return _boolean(first, operator) or _boolean(self.value(right), operator)
            case "??":
                return self.value(right) if first is None else first
        return _apply(operator, first, self.value(right))


def _label(node: Member) -> str:
    return path_of(node) or "an element"


def _get(target: Any, key: Any) -> Any:
    try:
        return _element(target, key)
    except ExpressionError:
        return None


def _element(target: Any, key: Any) -> Any:
    match target:
        case dict():
            return target.get(key)
        case list() | str():
            index = _integer(key, "an index")
            if not -len(target) <= index < len(target):
                raise ExpressionError(f"index {index} is out of range (length {len(target)})")
            return target[index]
    raise ExpressionError(f"cannot read {key!r} of {_type(target)}")


def _unary(operator: str, value: Any) -> Any:
    if operator == "!":
        return not _boolean(value, operator)
    number = _number(value, operator)
    return -number if operator == "-" else number


def _apply(operator: str, left: Any, right: Any) -> Any:
    match operator:
        case "==":
            return _equal(left, right)
        case "!=":
            return not _equal(left, right)
        case "<" | ">" | "<=" | ">=":
            return _compare(operator, left, right)
        case "in":
            return _contains(right, left)
        case "matches":
            return _matches(_text(right, operator), _text(left, operator))
        case "contains":
            return _text(right, operator) in _text(left, operator)
        case "startsWith":
            return _text(left, operator).startswith(_text(right, operator))
        case "endsWith":
            return _text(left, operator).endswith(_text(right, operator))
        case "..":
            return list(range(_integer(left, ".."), _integer(right, "..") + 1))
        case "+" if isinstance(left, str) and isinstance(right, str):
            return left + right
    return _arithmetic(operator, _number(left, operator), _number(right, operator))


def _arithmetic(operator: str, left: int | float, right: int | float) -> int | float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "**":
            return math.pow(left, right)
    divisor = _integer(right, "%")
    quotient = abs(_integer(left, "%")) % abs(divisor)
    return -quotient if left < 0 else quotient  # Go's remainder has the sign of the dividend


def _equal(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if _type(left) != _type(right):
        raise ExpressionError(f"cannot compare {_type(left)} with {_type(right)}")
    return bool(left == right)


def _compare(operator: str, left: Any, right: Any) -> bool:
    if _type(left) != _type(right) or _type(left) in ("bool", "map", "array", "nil"):
        raise ExpressionError(f"cannot compare {_type(left)} {operator} {_type(right)}")
    match operator:
        case "<":
            return bool(left < right)
        case ">":
            return bool(left > right)
        case "<=":
            return bool(left <= right)
    return bool(left >= right)


def _contains(container: Any, value: Any) -> bool:
    match container:
        case dict():
            return value in container
        case list():
            return any(_type(item) == _type(value) and item == value for item in container)
        case None:
            return False
    raise ExpressionError(f"'in' needs a list or a map, got {_type(container)}")


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ExpressionError(f"invalid regular expression {pattern!r}: {error}") from error


def _matches(pattern: str, text: str) -> bool:
    return _pattern(pattern).search(text) is not None


def _boolean(value: Any, operator: str) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"{operator} needs true or false, got {_type(value)} {value!r}")
    return value


def _text(value: Any, operator: str) -> str:
    if not isinstance(value, str):
        raise ExpressionError(f"{operator} needs a string, got {_type(value)} {value!r}")
    return value


def _number(value: Any, operator: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"{operator} needs a number, got {_type(value)} {value!r}")
    return value


def _integer(value: Any, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExpressionError(f"{what} needs an integer, got {_type(value)} {value!r}")
    return value


def _type(value: Any) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "map"
        case _:
            return type(value).__name__
