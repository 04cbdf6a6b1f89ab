"""`when` conditions: the language of govaluate, with bare words as strings, as in Argo."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from argotune.workflows.engine.errors import ExpressionError

Value: TypeAlias = "float | str | bool | list[Value]"

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<hex>0x[0-9a-fA-F]+)
  | (?P<number>[0-9.]+)
  | (?P<quoted>'(?:[^'"\\]|\\.)*['"]|"(?:[^'"\\]|\\.)*['"])
  | (?P<bracket>\[(?:[^\]\\]|\\.)*\])
  | (?P<word>[^\W\d_](?:[\w.]|\\.)*)
  | (?P<punctuation>[(),])
  | (?P<symbol>[^\w\s()\[\]'",]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_BINARY_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"==", "!=", ">", ">=", "<", "<=", "=~", "!~", "in"}),
    frozenset({"&", "|", "^"}),
    frozenset({"<<", ">>"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
    frozenset({"**"}),
)
_PREFIXES = frozenset({"!", "-", "~"})
_SYMBOLS = frozenset[str]().union(*_BINARY_LEVELS) | _PREFIXES | {"?", ":", "??"}
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_NUMERIC: dict[str, Callable[[float, float], float]] = {
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": lambda left, right: left - right * int(left / right),
    "**": operator.pow,
    "&": lambda left, right: float(int(left) & int(right)),
    "|": lambda left, right: float(int(left) | int(right)),
    "^": lambda left, right: float(int(left) ^ int(right)),
    "<<": lambda left, right: float(int(left) << int(right)),
    ">>": lambda left, right: float(int(left) >> int(right)),
}


def should_execute(when: str) -> bool:
    """Whether a step with this condition runs; its tags are already replaced, and empty means yes.

    Raises ExpressionError.
    """
    if not when:
        return True
    try:
        result = _evaluate(when)
    except ExpressionError as error:
        hint = ""
        if "Invalid token" in str(error):
            hint = ' (hint: try wrapping the affected expression in quotes ("))'
        raise ExpressionError(f"Invalid 'when' expression '{when}': {error}{hint}") from None
    except (ArithmeticError, ValueError, re.error) as error:
        raise ExpressionError(f"Invalid 'when' expression '{when}': {error}") from None
    if not isinstance(result, bool):
        raise ExpressionError(f"Expected boolean evaluation for '{when}'. Got {_show(result)}")
    return result


@lru_cache(maxsize=1024)
def _evaluate(when: str) -> Value:
    parser = _Parser(_tokens(when))
    result = parser.ternary()
    parser.end()
    return result


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    offset = 0
    while offset < len(source):
        match = _TOKEN.match(source, offset)
        if match is None:
            raise ExpressionError(f"Invalid token: '{source[offset:]}'")
        offset = match.end()
        text = match.group()
        kind = match.lastgroup or ""
        if kind == "symbol" and text not in _SYMBOLS:
            raise ExpressionError(f"Invalid token: '{text}'")
        if kind in ("quoted", "bracket"):
            text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        if kind != "space":
            found.append(_Token(kind, text))
    return found


class _Parser:
    """Evaluates while it parses; a condition has no variables left, so it needs no tree."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0

    def end(self) -> None:
        if self._position < len(self._tokens):
            raise ExpressionError(f"unexpected '{self._tokens[self._position].text}'")

    def ternary(self) -> Value:
        test = self._binary(0)
        if self._accept("??"):
            self._binary(0)
            return test
        if not self._accept("?"):
            return test
        then = self.ternary()
        self._expect(":")
        otherwise = self.ternary()
        return then if _boolean(test, "?") else otherwise

    def _binary(self, level: int) -> Value:
        if level == len(_BINARY_LEVELS):
            return self._prefix()
        left = self._binary(level + 1)
        while (symbol := self._symbol_in(_BINARY_LEVELS[level])) is not None:
            self._position += 1
            left = _apply(symbol, left, self._binary(level + 1))
        return left

    def _symbol_in(self, symbols: frozenset[str]) -> str | None:
        token = self._peek()
        if token is None:
            return None
        text = "in" if token.kind == "word" and token.text == "IN" else token.text
        is_operator = token.kind == "symbol" or (token.kind == "word" and text == "in")
        return text if is_operator and text in symbols else None

    def _prefix(self) -> Value:
        if self._accept("!"):
            return not _boolean(self._prefix(), "!")
        if self._accept("-"):
            return -_number(self._prefix(), "-")
        if self._accept("~"):
            return float(~int(_number(self._prefix(), "~")))
        return self._operand()

    def _operand(self) -> Value:
        token = self._peek()
        if token is None:
            raise ExpressionError("Unexpected end of expression")
        self._position += 1
        match token.kind:
            case "number" | "hex":
                return _parse_number(token)
            case "quoted" | "bracket":
                return token.text
            case "word":
                return _word(token.text)
            case "punctuation" if token.text == "(":
                return self._clause()
        raise ExpressionError(f"unexpected '{token.text}'")

    def _clause(self) -> Value:
        if self._accept(")"):
            return []
        items = [self.ternary()]
        while self._accept(","):
            items.append(self.ternary())
        self._expect(")")
        return items if len(items) > 1 else items[0]

    def _peek(self) -> _Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _accept(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.kind not in ("symbol", "punctuation") or token.text != text:
            return False
        self._position += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise ExpressionError("Unbalanced parenthesis" if text == ")" else f"expected '{text}'")


def _word(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    if "." in text:
        raise ExpressionError(
            f"Unable to access unexported field in token '{text}': put it in quotes"
        )
    return re.sub(r"\\(.)", r"\1", text)


def _parse_number(token: _Token) -> float:
    if token.kind == "hex":
        return float(int(token.text, 16))
    try:
        return float(token.text)
    except ValueError:
        raise ExpressionError(f"Unable to parse numeric value '{token.text}' to float64") from None


def _apply(symbol: str, left: Value, right: Value) -> Value:
    match symbol:
        case "&&":
            return _boolean(left, symbol) and _boolean(right, symbol)
        case "||":
            return _boolean(left, symbol) or _boolean(right, symbol)
        case "==":
            return _equal(left, right)
        case "!=":
            return not _equal(left, right)
        case "in":
            return any(_equal(left, item) for item in right) if isinstance(right, list) else False
        case "=~" | "!~":
            found = re.search(_text(right, symbol), _text(left, symbol)) is not None
            return found if symbol == "=~" else not found
        case "+" if isinstance(left, str) or isinstance(right, str):
            return _show(left) + _show(right)
    if symbol in _COMPARISONS:
        return _compare(symbol, left, right)
    return _NUMERIC[symbol](_number(left, symbol), _number(right, symbol))


def _compare(symbol: str, left: Value, right: Value) -> bool:
    compare = _COMPARISONS[symbol]
    if isinstance(left, str) and isinstance(right, str):
        return compare(left, right)
    # operator.gt and the others take numbers as they take strings.
    numbers: Callable[[float, float], bool] = compare  # type: ignore[assignment]
    return numbers(_number(left, symbol), _number(right, symbol))


def _equal(left: Value, right: Value) -> bool:
    return type(left) is type(right) and left == right


def _boolean(value: Value, symbol: str) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(
            f"Value '{_show(value)}' cannot be used with the logical operator '{symbol}', "
            "it is not a bool"
        )
    return value


def _number(value: Value, symbol: str) -> float:
    if isinstance(value, bool) or not isinstance(value, float):
        raise ExpressionError(
            f"Value '{_show(value)}' cannot be used with the operator '{symbol}', "
            "it is not a number"
        )
    return value


def _text(value: Value, symbol: str) -> str:
    if not isinstance(value, str):
        raise ExpressionError(
            f"Value '{_show(value)}' cannot be used with the operator '{symbol}', "
            "it is not a string"
        )
    return value


def _show(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return format(value, "g")
        case list():
            return "[" + " ".join(_show(item) for item in value) + "]"
        case _:
            return value
