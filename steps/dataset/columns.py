"""Finds which columns of a file hold the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.source import Column


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """Columns that become messages: one with a list of them, or texts."""

    messages: str | None = None
    """Column with a list of {role, content} or {from, value}, or with such a list as JSON text."""
    prompt: tuple[str, ...] = ()
    """Columns that make the user's message, joined by an empty line; none: there is no user."""
    response: str | None = None
    """Column with the assistant's message."""

    def names(self) -> list[str]:
        """All columns, in reading order."""
        names = [self.messages, *self.prompt, self.response]
        return [name for name in names if name is not None]


_MESSAGES = ("messages", "conversations")
# In the order of preference. `text` alone is trained on as a whole: one assistant message that
# answers nothing, so that the chat template frames it and every token of it counts.
_TEXTS = (
    Mapped(prompt=("prompt",), response="completion"),
    Mapped(prompt=("prompt",), response="response"),
    Mapped(prompt=("instruction", "input"), response="output"),
    Mapped(prompt=("instruction",), response="output"),
    Mapped(prompt=("instruction", "context"), response="response"),
    Mapped(prompt=("instruction",), response="response"),
    Mapped(prompt=("question",), response="answer"),
    Mapped(response="text"),
)
_ACCEPTED = (
    "messages, conversations, prompt + completion, instruction (+ input) + output, "
    "instruction (+ context) + response, question + answer, text"
)


def map_columns(columns: Mapping[str, Column], data: Data) -> Mapped:
    """The columns that the plan names, else those with well-known names.

    Raises PermanentError that lists the columns which are there.
    """
    if data.messages_column or data.context_column or data.response_column:
        return _named(columns, data)
    for name in _MESSAGES:
        if name in columns and columns[name].kind != "other":
            return Mapped(messages=name)
    for mapped in _TEXTS:
        if all(name in columns and columns[name].kind == "text" for name in mapped.names()):
            return mapped
    raise PermanentError(
        f"no columns that become messages; there are {_listed(columns)}; known are {_ACCEPTED}; "
        "others are named with DatasetConfig's messages_column, or context_column and "
        "response_column"
    )


def _named(columns: Mapping[str, Column], data: Data) -> Mapped:
    if data.messages_column:
        _check(columns, "messages_column", data.messages_column, ("messages", "text"))
        return Mapped(messages=data.messages_column)
    if not data.response_column:
        raise PermanentError(
            f"context_column {data.context_column!r} is named without response_column; "
            f"there are {_listed(columns)}"
        )
    if data.context_column:
        _check(columns, "context_column", data.context_column, ("text",))
    _check(columns, "response_column", data.response_column, ("text",))
    prompt = (data.context_column,) if data.context_column else ()
    return Mapped(prompt=prompt, response=data.response_column)


def _check(columns: Mapping[str, Column], setting: str, name: str, kinds: tuple[str, ...]) -> None:
    if name not in columns:
        raise PermanentError(
            f"{setting} {name!r} is not a column of the file; there are {_listed(columns)}"
        )
    if columns[name].kind not in kinds:
        accepted = "text" if kinds == ("text",) else "a list of {role, content}"
        raise PermanentError(
            f"{setting} {name!r} is of type {columns[name].type}; {accepted} is needed"
        )


def _listed(columns: Mapping[str, Column]) -> str:
    return ", ".join(f"{name} ({column.type})" for name, column in columns.items()) or "none"
