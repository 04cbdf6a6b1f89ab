"""The substitution of `{{...}}` tags.

Argo replaces tags in the JSON text of a template, pass after pass, so that a value which itself
holds a tag is expanded again, and a value with a control character breaks the JSON. Here every
string is replaced once, as a string: a value is never read as a tag and never needs escaping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from argotune.workflows.engine.errors import ExpressionError, UnresolvedError
from argotune.workflows.engine.language.expr import evaluate
from argotune.workflows.engine.language.govalues import go_json

_OPEN, _CLOSE = "{{", "}}"


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag; `source` is the text between the braces, and a simple tag may hold further tags."""

    source: str
    parts: tuple[str | Tag, ...]

    @property
    def is_expression(self) -> bool:
        """Whether the tag is `{{=...}}`."""
        return self.source.startswith("=")

    @property
    def expression(self) -> str:
        """The expression of an expression tag."""
        return self.source[1:].strip()

    @property
    def name(self) -> str:
        """The variable of a simple tag without tags inside."""
        return self.source.strip()


class Scope(dict[str, str]):
    """The variables that a tag may name, by their full dotted names."""

    def environment(self) -> dict[str, Any]:
        """The same as nested dicts, as expressions read them; a longer name wins."""
        nested: dict[str, Any] = {}
        for name in sorted(self, key=len):
            head = nested
            *parents, last = name.split(".")
            for parent in parents:
                inner = head.get(parent)
                if not isinstance(inner, dict):
                    inner = head[parent] = {}
                head = inner
            head[last] = self[name]
        return nested

    def merged(self, *others: Mapping[str, str]) -> Scope:
        """A copy with the variables of `others`; the later ones win."""
        result = Scope(self)
        for other in others:
            result.update(other)
        return result


@lru_cache(maxsize=8192)
def split(text: str) -> tuple[str | Tag, ...]:
    """`text` as literal strings and tags; braces that do not close are literal."""
    parts, _ = _split(text, 0, inside=False)
    return parts


def _split(text: str, start: int, *, inside: bool) -> tuple[tuple[str | Tag, ...], int]:
    parts: list[str | Tag] = []
    position = literal = start
    while position < len(text):
        if inside and text.startswith(_CLOSE, position):
            break
        if not text.startswith(_OPEN, position):
            position += 1
            continue
        tag, end = _tag(text, position + len(_OPEN))
        if tag is None:
            position += len(_OPEN)
            continue
        if literal < position:
            parts.append(text[literal:position])
        parts.append(tag)
        position = literal = end
    if literal < position:
        parts.append(text[literal:position])
    return tuple(parts), position


def _tag(text: str, start: int) -> tuple[Tag | None, int]:
    if text.startswith("=", start):
        end = text.find(_CLOSE, start)
        if end < 0:
            return None, start
        source = text[start:end]
        return Tag(source, (source,)), end + len(_CLOSE)
    parts, end = _split(text, start, inside=True)
    if not text.startswith(_CLOSE, end):
        return None, start
    return Tag(text[start:end], parts), end + len(_CLOSE)


def tags(value: Any) -> Iterator[Tag]:
    """All tags in `value`, at any depth and in keys; an inner tag comes after its outer one."""
    match value:
        case str() if _OPEN in value:
            yield from _tags_in(split(value))
        case dict():
            for key, item in value.items():
                yield from tags(key)
                yield from tags(item)
        case list():
            for item in value:
                yield from tags(item)


def _tags_in(parts: tuple[str | Tag, ...]) -> Iterator[Tag]:
    for part in parts:
        if isinstance(part, Tag):
            yield part
            yield from _tags_in(part.parts)


def substitute(value: Any, scope: Scope, strict: tuple[str, ...] = ()) -> Any:
    """A copy of `value` with its tags replaced.

    A simple tag without a value stays unchanged, as in Argo, unless its first word is in `strict`:
    this raises UnresolvedError. An expression that fails or is nil raises ExpressionError.
    """
    replace = _replacer(scope, strict)
    return _walk(value, replace)


def substitute_text(text: str, scope: Scope, strict: tuple[str, ...] = ()) -> str:
    """`text` with its tags replaced, by the rules of `substitute`."""
    return _replacer(scope, strict)(text) if _OPEN in text else text


def _walk(value: Any, replace: Callable[[str], str]) -> Any:
    match value:
        case str():
            return replace(value) if _OPEN in value else value
        case dict():
            return {_walk(key, replace): _walk(item, replace) for key, item in value.items()}
        case list():
            return [_walk(item, replace) for item in value]
        case _:
            return value


def _replacer(scope: Scope, strict: tuple[str, ...]) -> Callable[[str], str]:
    environment: dict[str, Any] | None = None

    def evaluate_tag(tag: Tag) -> str:
        nonlocal environment
        if environment is None:
            environment = scope.environment()
        value = evaluate(tag.expression, environment)
        if value is None:
            raise ExpressionError(f"failed to evaluate {tag.expression!r}: the value is nil")
        return value if isinstance(value, str) else go_json(value)

    def resolve_name(tag: Tag) -> str:
        name = "".join(part if isinstance(part, str) else resolve(part) for part in tag.parts)
        value = scope.get(name.strip())
        if value is not None:
            return value
        if name.strip().split(".", 1)[0] in strict:
            raise UnresolvedError(f"failed to resolve {_OPEN}{name}{_CLOSE}")
        return f"{_OPEN}{name}{_CLOSE}"

    def resolve(tag: Tag) -> str:
        return evaluate_tag(tag) if tag.is_expression else resolve_name(tag)

    return lambda text: "".join(
        part if isinstance(part, str) else resolve(part) for part in split(text)
    )
