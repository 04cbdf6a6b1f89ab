"""Messages of the product as its source has them, to compare documents with."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
GAP = "…"
"""Stands in a quoted message for a name or a value."""

Message = tuple[str, ...]
"""The fixed parts of one text of the source, in order."""
_SHORTEST_PART = 4


@cache
def messages() -> Sequence[Message]:
    """Every text of presets, steps and workflows that is no docstring."""
    found = [
        message
        for folder in ("presets", "steps", "workflows")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for message in _texts(ast.parse(file.read_text()))
    ]
    return tuple(dict.fromkeys(found))


def _texts(tree: ast.AST) -> Iterator[Message]:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.JoinedStr):
            yield tuple(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield (node.value,)


def is_said(quoted: str) -> bool:
    """Whether the source has a text with the parts of the quoted message, in their order; each
    part lies in one fixed part of the text."""
    parts = [part.strip() for part in quoted.split(GAP) if part.strip()]
    return any(_contains(message, parts) for message in messages())


def _contains(message: Message, parts: Sequence[str]) -> bool:
    fixed = iter(message)
    text = next(fixed, "")
    for part in parts:
        while part not in text:
            following = next(fixed, None)
            if following is None:
                return False
            text = following
        text = text.partition(part)[2]
    return True


def characters_said(line: str) -> int:
    """How much of a line of output one text of the source says: the characters of its fixed parts,
    all of which are in the line, in their order."""
    return max((_said(message, line) for message in messages()), default=0)


def _said(message: Message, line: str) -> int:
    """Characters of the line that the message's fixed parts are; 0 where one of them is not."""
    said = at = 0
    for part in message:
        if len(part.strip()) < _SHORTEST_PART:
            continue
        at = line.find(part, at)
        if at < 0:
            return 0
        at += len(part)
        said += len(part)
    return said
