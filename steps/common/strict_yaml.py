"""YAML: read strictly where others write it, and written for people.

In what is read duplicate keys are errors, and dates stay strings. The costs of reading are limited
by argotune.steps.common.yaml_limits.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

from argotune.steps.common.printable import printable
from argotune.steps.common.yaml_limits import SafeLoader, check_limits


class YamlProblem(ValueError):
    """The YAML is invalid; the message begins with the place, `line L, column C: ...`."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a YAML text."""

    line: int
    """Line on which the document starts, from 1."""
    value: Any


class _Loader(SafeLoader):  # type: ignore[misc]
    # Kubernetes parses no dates: 2026-01-31 is a string.
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise ConstructorError(
                    problem=f"duplicate key {key.value}", problem_mark=key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def load(text: str) -> Any:
    """Parse a text of one document, None if empty. Raises YamlProblem."""
    documents = load_all(text)
    if len(documents) > 1:
        raise YamlProblem(f"line {documents[1].line}: second document; expected one document")
    return documents[0].value if documents else None


def load_all(text: str) -> list[Document]:
    """Parse all documents of a text, without the empty ones. Raises YamlProblem."""
    try:
        check_limits(text)
        return _documents(text)
    except yaml.YAMLError as error:
        raise YamlProblem(_message(error)) from error
    except (ValueError, LookupError, AttributeError) as error:
        # PyYAML lets these out for text that does not fit its tag, such as 0x_ and !!bool maybe.
        raise YamlProblem(f"a value does not fit its tag: {error}") from error


def dump(*documents: object) -> str:
    """The documents as one YAML text, with nothing in it that `printable` would change."""
    text = _dump(documents, allow_unicode=True)
    # YAML leaves bidi controls as they are. In ASCII all of them are escaped, and letters too.
    return text if printable(text) == text else _dump(documents, allow_unicode=False)


def _documents(text: str) -> list[Document]:
    loader = _Loader(text)
    documents = []
    try:
        while loader.check_node():
            node = loader.get_node()
            value = loader.construct_document(node)
            if value is not None:
                documents.append(Document(line=node.start_mark.line + 1, value=value))
    finally:
        loader.dispose()
    return documents


def _message(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + ", ".join(filter(None, [error.context, error.problem]))


def _dump(documents: tuple[object, ...], *, allow_unicode: bool) -> str:
    text: str = yaml.safe_dump_all(
        documents, sort_keys=False, allow_unicode=allow_unicode, width=100
    )
    return text
