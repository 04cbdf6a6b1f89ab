"""The tokens of an expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from argotune.workflows.engine.errors import ExpressionError

_WORD_OPERATORS = frozenset(
    {"in", "or", "and", "matches", "contains", "startsWith", "endsWith", "not", "let", "if", "else"}
)
NEGATABLE = frozenset({"in", "matches", "contains", "startsWith", "endsWith"})

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<number>0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
        |(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)
  | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<raw>`[^`]*`)
  | (?P<pointer>\#[A-Za-z0-9_]*)
  | (?P<name>[^\W\d]\w*|\$\w*)
  | (?P<operator>\?\?|\?\.|\|\||&&|==|!=|<=|>=|\*\*|\.\.|[-+*/%^<>!=?:|.,;])
  | (?P<bracket>[()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip


class Kind(StrEnum):
    """The kind of a token."""

    NUMBER = "number"
    STRING = "string"
    NAME = "name"
    POINTER = "pointer"
    OPERATOR = "operator"
    BRACKET = "bracket"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `offset` is where it begins in the source, in characters."""

    kind: Kind
    text: str
    offset: int


def tokens(source: str) -> list[Token]:
    """The tokens of `source`, the last of kind END; strings are unescaped.

    Raises ExpressionError.
    """
    found: list[Token] = []
    offset = 0
    while offset < len(source):
        match = _TOKEN.match(source, offset)
        if match is None:
            raise ExpressionError(
                f"unrecognized character {source[offset]!r} at {offset + 1} in {source!r}"
            )
        token = _token(match, source)
        if token is not None:
            found.append(token)
        offset = match.end()
    found.append(Token(Kind.END, "", len(source)))
    return found


def _token(match: re.Match[str], source: str) -> Token | None:
    text, offset = match.group(), match.start()
    match match.lastgroup:
        case "space":
            return None
        case "string":
            return Token(Kind.STRING, _unescape(text[1:-1], source), offset)
        case "raw":
            return Token(Kind.STRING, text[1:-1], offset)
        case "name" if text in _WORD_OPERATORS:
            return Token(Kind.OPERATOR, text, offset)
        case group:
            return Token(Kind(group or ""), text, offset)


def _unescape(body: str, source: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[escape]
        if escape[0] in "xuU" and len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape.isdigit() and len(escape) == 3:
            return chr(int(escape, 8))
        raise ExpressionError(f"unknown escape \\{escape} in {source!r}")

    return _ESCAPE.sub(replace, body)
