"""The parser: precedence climbing with the operator table of expr-lang 1.17."""

from __future__ import annotations

from functools import lru_cache

from argotune.workflows.engine.errors import ExpressionError
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
)
from argotune.workflows.engine.language.expr.lexer import NEGATABLE, Kind, Token, tokens

PREDICATES = frozenset(
    {
        "all", "none", "any", "one", "filter", "map", "find", "findIndex", "findLast",
        "findLastIndex", "count", "sum", "groupBy", "sortBy", "reduce",
    }
)  # fmt: skip

_UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
_BINARY = {
    "|": 0, "or": 10, "||": 10, "and": 15, "&&": 15,
    "==": 20, "!=": 20, "<": 20, ">": 20, ">=": 20, "<=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
_RIGHT_ASSOCIATIVE = frozenset({"**", "^"})
_SPELLINGS = {"or": "||", "and": "&&", "^": "**", "not": "!"}
_CONSTANTS = {"true": True, "false": False, "nil": None}


@lru_cache(maxsize=4096)
def parse(source: str) -> Expression:
    """The syntax tree of `source`. Raises ExpressionError with the problem and its place."""
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokens(source)
        self._position = 0
        self._predicate_depth = 0

    def whole(self) -> Expression:
        node = self._sequence()
        if self._token.kind is not Kind.END:
            raise self._error(f"unexpected {self._token.text!r}")
        return node

    @property
    def _token(self) -> Token:
        return self._tokens[self._position]

    def _error(self, problem: str) -> ExpressionError:
        return ExpressionError(f"{problem} at {self._token.offset + 1} in {self._source!r}")

    def _advance(self) -> Token:
        token = self._token
        if token.kind is not Kind.END:
            self._position += 1
        return token

    def _at(self, *texts: str) -> bool:
        return self._token.kind in (Kind.OPERATOR, Kind.BRACKET) and self._token.text in texts

    def _accept(self, *texts: str) -> bool:
        if not self._at(*texts):
            return False
        self._advance()
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            found = "the end" if self._token.kind is Kind.END else repr(self._token.text)
            raise self._error(f"expected {text!r}, found {found}")

    def _name(self) -> str:
        if self._token.kind is not Kind.NAME:
            raise self._error(f"expected a name, found {self._token.text!r}")
        return self._advance().text

    def _sequence(self) -> Expression:
        if not self._accept("let"):
            return self._expression(0)
        name = self._name()
        self._expect("=")
        value = self._expression(0)
        self._expect(";")
        return Let(name, value, self._sequence())

    def _expression(self, precedence: int) -> Expression:
        if precedence == 0 and self._at("if"):
            return self._if()
        left = self._primary()
        while (operator := self._binary_operator()) is not None:
            text, negated, level = operator
            if level < precedence:
                break
            self._position += 2 if negated else 1
            left = self._combine(text, left, level)
            if negated:
                left = Unary("!", left)
        return self._conditional(left) if precedence == 0 else left

    def _binary_operator(self) -> tuple[str, bool, int] | None:
        """The next operator, whether `not` precedes it, and its precedence; None at the end."""
        if self._token.kind is not Kind.OPERATOR:
            return None
        text = self._token.text
        negated = text == "not"
        if negated:
            text = self._tokens[self._position + 1].text
            if text not in NEGATABLE:
                return None
        level = _BINARY.get(text)
        return None if level is None else (text, negated, level)

    def _combine(self, operator: str, left: Expression, level: int) -> Expression:
        if operator == "|":
            return self._pipe(left)
        right = self._expression(level if operator in _RIGHT_ASSOCIATIVE else level + 1)
        return Binary(_SPELLINGS.get(operator, operator), left, right)

    def _pipe(self, left: Expression) -> Expression:
        return self._postfix(self._call(self._name(), (left,)))

    def _conditional(self, test: Expression) -> Expression:
        if not self._accept("?"):
            return test
        if self._accept(":"):
            return Conditional(test, test, self._expression(0))
        then = self._expression(0)
        self._expect(":")
        return Conditional(test, then, self._expression(0))

    def _if(self) -> Expression:
        self._expect("if")
        test = self._expression(0)
        self._expect("{")
        then = self._sequence()
        self._expect("}")
        self._expect("else")
        if self._at("if"):
            return Conditional(test, then, self._if())
        self._expect("{")
        otherwise = self._sequence()
        self._expect("}")
        return Conditional(test, then, otherwise)

    def _primary(self) -> Expression:
        token = self._token
        if token.kind is Kind.OPERATOR and token.text in _UNARY:
            self._advance()
            operand = self._expression(_UNARY[token.text])
            return self._postfix(Unary(_SPELLINGS.get(token.text, token.text), operand))
        if self._accept("("):
            inner = self._sequence()
            self._expect(")")
            return self._postfix(inner)
        if self._predicate_depth and (token.kind is Kind.POINTER or self._at(".")):
            return self._postfix(self._pointer())
        return self._postfix(self._operand())

    def _pointer(self) -> Expression:
        if self._token.kind is Kind.POINTER:
            return Pointer(self._advance().text[1:])
        return Pointer("")  # `.name` is short for `#.name`; the dot is left for the postfix

    def _operand(self) -> Expression:
        token = self._token
        match token.kind:
            case Kind.NUMBER:
                return Literal(_number(self._advance().text))
            case Kind.STRING:
                return Literal(self._advance().text)
            case Kind.NAME:
                self._advance()
                if token.text in _CONSTANTS:
                    return Literal(_CONSTANTS[token.text])
                return self._call(token.text, ()) if self._at("(") else Name(token.text)
        if self._accept("["):
            return ListOf(self._arguments("]"))
        if self._accept("{"):
            return self._map()
        found = "end" if token.kind is Kind.END else repr(token.text)
        raise self._error(f"unexpected {found}")

    def _call(self, name: str, leading: tuple[Expression, ...]) -> Expression:
        self._expect("(")
        if name not in PREDICATES:
            return Call(Name(name), (*leading, *self._arguments(")")))
        given = list(leading)
        while not self._accept(")"):
            # The first argument is the list; what follows it is evaluated for each element, except
            # reduce's last, the initial value.
            is_predicate = len(given) == 1
            given.append(self._closure() if is_predicate else self._expression(0))
            if not self._at(")"):
                self._expect(",")
        return Call(Name(name), tuple(given))

    def _closure(self) -> Expression:
        braces = self._accept("{")
        self._predicate_depth += 1
        body = self._sequence()
        self._predicate_depth -= 1
        if braces:
            self._expect("}")
        return Closure(body)

    def _arguments(self, closing: str) -> tuple[Expression, ...]:
        found: list[Expression] = []
        while not self._accept(closing):
            found.append(self._expression(0))
            if not self._at(closing):
                self._expect(",")
        return tuple(found)

    def _map(self) -> Expression:
        pairs: list[tuple[Expression, Expression]] = []
        while not self._accept("}"):
            pairs.append((self._map_key(), self._map_value()))
            if not self._at("}"):
                self._expect(",")
        return MapOf(tuple(pairs))

    def _map_key(self) -> Expression:
        if self._token.kind in (Kind.NAME, Kind.STRING, Kind.NUMBER):
            return Literal(self._advance().text)
        if self._accept("("):
            key = self._expression(0)
            self._expect(")")
            return key
        raise self._error("a map key must be a string, a number, a name or an expression in ()")

    def _map_value(self) -> Expression:
        self._expect(":")
        return self._expression(0)

    def _postfix(self, node: Expression) -> Expression:
        while True:
            if self._at(".", "?."):
                node = self._member(node, optional=self._advance().text == "?.")
            elif self._accept("["):
                node = self._index(node, optional=False)
            else:
                return node

    def _member(self, target: Expression, *, optional: bool) -> Expression:
        if optional and self._accept("["):
            return self._index(target, optional=True)
        token = self._token
        # Words like `in` are operators elsewhere and names after a dot.
        if token.kind is not Kind.NAME and not (
            token.kind is Kind.OPERATOR and token.text.isalpha()
        ):
            raise self._error(f"expected a name after '.', found {token.text!r}")
        self._advance()
        member = Member(target, Literal(token.text), optional)
        if not self._accept("("):
            return member
        return Call(member, self._arguments(")"))

    def _index(self, target: Expression, *, optional: bool) -> Expression:
        start = None if self._at(":") else self._expression(0)
        if self._accept(":"):
            stop = None if self._at("]") else self._expression(0)
            self._expect("]")
            return Slice(target, start, stop)
        self._expect("]")
        if start is None:
            raise self._error("expected an index")
        return Member(target, start, optional)


def _number(text: str) -> int | float:
    plain = text.replace("_", "")
    if plain[:2].lower() in ("0x", "0o", "0b"):
        return int(plain, 0)
    if any(mark in plain for mark in ".eE"):
        return float(plain)
    return int(plain)
