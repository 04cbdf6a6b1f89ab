"""The syntax tree of an expression, which the parser makes and the evaluator walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Constant: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string, `true`, `false` or `nil`."""

    value: Constant


@dataclass(frozen=True, slots=True)
class Name:
    """A variable or function of the environment."""

    name: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """`#`, `#index` or `#acc`: the element of a predicate, its index, or the accumulator."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """`target.key` or `target[key]`; if `optional` (`?.`), nil instead of an error."""

    target: Expression
    key: Expression
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """`target[start:stop]`."""

    target: Expression
    start: Expression | None
    stop: Expression | None


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; a predicate argument is a Closure."""

    function: Expression
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Closure:
    """`{# > 1}`, evaluated once for each element."""

    body: Expression


@dataclass(frozen=True, slots=True)
class Unary:
    """`!x`, `not x`, `-x` or `+x`."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands with an operator; `&&`, `||` and `??` evaluate the right operand if needed."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Conditional:
    """`test ? then : otherwise`."""

    test: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Let:
    """`let name = value; body`."""

    name: str
    value: Expression
    body: Expression


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """`{key: value}`."""

    items: tuple[tuple[Expression, Expression], ...]


Expression: TypeAlias = (
    Literal
    | Name
    | Pointer
    | Member
    | Slice
    | Call
    | Closure
    | Unary
    | Binary
    | Conditional
    | Let
    | ListOf
    | MapOf
)


def children(node: Expression) -> tuple[Expression, ...]:
    """The expressions directly inside `node`, in the order of the source."""
    match node:
        case Literal() | Name() | Pointer():
            return ()
        case Member(target, key):
            return (target, key)
        case Slice(target, start, stop):
            return tuple(part for part in (target, start, stop) if part is not None)
        case Call(function, arguments):
            return (function, *arguments)
        case Closure(body):
            return (body,)
        case Unary(_, operand):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case Conditional(test, then, otherwise):
            return (test, then, otherwise)
        case Let(_, value, body):
            return (value, body)
        case ListOf(items):
            return items
        case MapOf(pairs):
            return tuple(part for pair in pairs for part in pair)


def walk(node: Expression) -> Iterator[Expression]:
    """All expressions of the tree, each before those inside it."""
    yield node
    for child in children(node):
        yield from walk(child)


def is_optional(node: Expression) -> bool:
    """Whether a chain of members holds `?.`: all of it is then nil instead of an error."""
    return isinstance(node, Member) and (node.optional or is_optional(node.target))


def path_of(node: Expression) -> str | None:
    """`inputs.parameters['a-b']` as `inputs.parameters.a-b`; None if it is no such path."""
    if isinstance(node, Name):
        return node.name
    if (
        isinstance(node, Member)
        and isinstance(node.key, Literal)
        and isinstance(node.key.value, str)
    ):
        head = path_of(node.target)
        return None if head is None else f"{head}.{node.key.value}"
    return None
