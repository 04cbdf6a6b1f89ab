"""JSONPath in `jsonpath(text, path)`, with the values that Argo finds.

python-jsonpath reads the path as RFC 9535 has it. What the path finds is decided here, because
Argo's library, github.com/evilmonkeyinc/jsonpath, is older than the RFC: a missing member is an
error, an index after a filter counts in what the filter found, a filter leaves out an element that
lacks a member it asks for, `!` and `!=` included, and `.length` is the length. Of the paths that
only one of the two understands, none is accepted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jsonpath import JSONPathEnvironment, JSONPathError
from jsonpath.filter import (
    BaseExpression,
    BooleanLiteral,
    FilterExpression,
    FloatLiteral,
    InfixExpression,
    IntegerLiteral,
    Nil,
    PrefixExpression,
    RelativeFilterQuery,
    RootFilterQuery,
    StringLiteral,
)
from jsonpath.path import CompoundJSONPath, JSONPath
from jsonpath.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import (
    Filter,
    IndexSelector,
    JSONPathSelector,
    NameSelector,
    SliceSelector,
    WildcardSelector,
)
from jsonpath.token import TOKEN_FILTER, TOKEN_LPAREN, TOKEN_NAME, TOKEN_RPAREN

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.govalues import go_string

_LANGUAGE = JSONPathEnvironment(strict=True)
_ACCEPTED = (
    "accepted are members, .length, indexes, slices, unions, *, .. and filters such as"
    " [?(@.age > 3 && @.name == 'x')]"
)
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Segments = Sequence[JSONPathSegment]


def query(document: Any, path: str) -> Any:
    """The value at `path`, or a list of values if the path may match several.

    Raises ExpressionError.
    """
    try:
        return _at(document, document, _parse(path).segments)
    except _NothingFoundError as error:
        raise ExpressionError(f"JSONPath {path!r} finds nothing: {error}") from None
    except RecursionError:
        raise ExpressionError(f"JSONPath {path!r}: the JSON is nested too deeply") from None


class _NothingFoundError(Exception):
    """A member or an element is missing, or the value has none."""


def _parse(path: str) -> JSONPath:
    if not path.startswith("$"):
        raise _unsupported(path, "it must begin with $")
    try:
        parsed = _LANGUAGE.compile(path)
        if isinstance(parsed, CompoundJSONPath):
            raise _unsupported(path, "it is two paths")
        _check_parentheses(path)
        _check(parsed.segments, path)
    except JSONPathError as error:
        raise _unsupported(path, str(error).partition("\n")[0]) from None
    return parsed


def _unsupported(path: str, problem: str) -> ExpressionError:
    return ExpressionError(f"unsupported JSONPath {path!r}: {problem}; {_ACCEPTED}")


def _check_parentheses(path: str) -> None:
    """Refuse a filter without parentheses around it or with more inside, as Argo does."""
    kinds = [token.kind for token in _LANGUAGE.lexer.tokenize(path)]
    for at, kind in enumerate(kinds):
        if kind != TOKEN_FILTER:
            continue
        if kinds[at + 1] != TOKEN_LPAREN:
            raise _unsupported(path, "a filter stands in parentheses, [?(...)]")
        inside = kinds[at + 2 :]
        if TOKEN_LPAREN in inside[: inside.index(TOKEN_RPAREN)]:
            raise _unsupported(path, "a filter has no parentheses inside")


def _check(segments: Segments, path: str) -> None:
    for segment in segments:
        kinds = {type(selector) for selector in segment.selectors}
        if len(kinds) > 1 or (len(segment.selectors) > 1 and not _is_union(kinds)):
            raise _unsupported(path, "a union has either names or indexes")
        for selector in segment.selectors:
            if isinstance(selector, Filter):
                _check_expression(selector.expression, path)


def _is_union(kinds: set[type[JSONPathSelector]]) -> bool:
    return kinds <= {NameSelector, IndexSelector}


def _check_expression(expression: BaseExpression, path: str) -> None:
    match expression:
        case RelativeFilterQuery() | RootFilterQuery():
            _check(expression.path.segments, path)
        case (
            FilterExpression() | InfixExpression() | PrefixExpression() | StringLiteral()
            | IntegerLiteral() | FloatLiteral() | BooleanLiteral() | Nil()
        ):  # fmt: skip
            for child in expression.children():
                _check_expression(child, path)
        case _:
            raise _unsupported(path, f"{expression} in a filter")


def _at(root: Any, value: Any, segments: Segments) -> Any:
    """What the segments find from `value` on. Raises _NothingFoundError."""
    if not segments:
        return value
    segment, rest = segments[0], segments[1:]
    if not isinstance(segment, JSONPathRecursiveDescentSegment):
        return _below(root, value, segment.selectors, rest)
    found: list[Any] = []
    for inner in _descendants(value):
        for part in _found(_below, root, inner, segment.selectors, rest):
            found.extend(part if isinstance(part, list) else [part])
    return found


def _below(root: Any, value: Any, selectors: Sequence[JSONPathSelector], rest: Segments) -> Any:
    if len(selectors) == 1 and isinstance(selectors[0], NameSelector | IndexSelector):
        return _at(root, _child(value, selectors[0]), rest)
    several = _children(root, value, selectors)
    if not rest:
        return several
    if _is_index(rest[0]) and not isinstance(selectors[0], WildcardSelector):
        return _at(root, several, rest)
    return [part for item in several for part in _found(_at, root, item, rest)]


def _found(find: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `find` returns, as a list of one; nothing if it finds nothing, or null."""
    try:
        value = find(*arguments)
    except _NothingFoundError:
        return []
    return [] if value is None else [value]


def _is_index(segment: JSONPathSegment) -> bool:
    return len(segment.selectors) == 1 and isinstance(segment.selectors[0], IndexSelector)


def _child(value: Any, selector: JSONPathSelector) -> Any:
    match selector, value:
        case NameSelector(name=name), dict() if name in value:
            return value[name]
        case NameSelector(name="length", token=token), (dict() | list() | str()) if (
            token.kind == TOKEN_NAME
        ):
            return len(value)
        case IndexSelector(index=index), list() if -len(value) <= index < len(value):
            return value[index]
    raise _NothingFoundError(f"there is no {selector} in {go_string(value)}")


def _children(root: Any, value: Any, selectors: Sequence[JSONPathSelector]) -> list[Any]:
    match selectors[0], value:
        case WildcardSelector(), dict() | list():
            return _members(value)
        case Filter(expression=expression), dict() | list():
            return [item for item in _members(value) if _is_wanted(root, item, expression)]
        case SliceSelector(slice=chosen), list() if chosen.step != 0:
            # Argo cuts the part out first, and then steps through it.
            return value[chosen.start : chosen.stop][:: chosen.step]
        case (NameSelector(), dict()) | (IndexSelector(), list()):
            return [part for one in selectors for part in _found_or_null(value, one)]
    raise _NothingFoundError(f"{selectors[0]} cannot select from {go_string(value)}")


def _found_or_null(value: Any, selector: JSONPathSelector) -> list[Any]:
    try:
        return [_child(value, selector)]
    except _NothingFoundError:
        return []


def _members(value: dict[str, Any] | list[Any]) -> list[Any]:
    return [value[key] for key in sorted(value)] if isinstance(value, dict) else value


def _descendants(value: Any) -> Iterator[Any]:
    if value is None:
        return
    yield value
    if isinstance(value, dict | list):
        for item in _members(value):
            yield from _descendants(item)


def _is_wanted(root: Any, element: Any, expression: FilterExpression) -> bool:
    try:
        value = _operand(root, element, expression.expression)
    except _NothingFoundError:
        return False
    return value not in ("''", None) and bool(value)


def _operand(root: Any, element: Any, expression: BaseExpression) -> Any:
    """The value of a part of a filter; a text stands in quotes, as in Argo's library.

    Raises _NothingFoundError.
    """
    match expression:
        case RelativeFilterQuery():
            return _quoted(_at(root, element, expression.path.segments))
        case RootFilterQuery():
            return _quoted(_at(root, root, expression.path.segments))
        case PrefixExpression():
            return not _boolean(_operand(root, element, expression.right))
        case InfixExpression():
            left = _operand(root, element, expression.left)
            return _compared(left, expression.operator, _operand(root, element, expression.right))
        case Nil():
            return None
        case StringLiteral() | IntegerLiteral() | FloatLiteral() | BooleanLiteral():
            return _quoted(expression.value)
    raise AssertionError(expression)  # _check_expression has refused it


def _quoted(value: Any) -> Any:
    return f"'{value}'" if isinstance(value, str) else value


def _compared(left: Any, operation: str, right: Any) -> bool:
    match operation:
        case "&&" | "||":
            both = _boolean(left), _boolean(right)
            return all(both) if operation == "&&" else any(both)
        case "==":
            return _equal(left, right)
        case "!=":
            return not _equal(left, right)
    return _COMPARISONS[operation](_number(left), _number(right))


def _equal(left: Any, right: Any) -> bool:
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    return go_string(left) == go_string(right)


def _boolean(value: Any) -> bool:
    if value is None or value in (0, 1):
        return bool(value)
    raise _NothingFoundError(f"{go_string(value)} is neither true nor false")


def _number(value: Any) -> float:
    if _is_number(value):
        return float(value)
    raise _NothingFoundError(f"{go_string(value)} is no number")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
