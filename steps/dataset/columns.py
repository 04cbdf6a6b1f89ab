"""Find the columns of a file that contain the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.source import Column


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """The columns with a conversation: one list of messages, or prompt and response."""

    messages: str | None = None
    """Column with a list of {role, content} or {from, value}, or with such a list as JSON."""
    prompt: tuple[str, ...] = ()
    """Columns of the user's message, joined by an empty line; empty: no user message."""
    response: str | None = None
    """Column with the assistant's message."""

    def names(self) -> list[str]:
        """All columns, in reading order."""
        names = [self.messages, *self.prompt, self.response]
        return [name for name in names if name is not None]


_MESSAGES = ("messages", "conversations")
# In order of preference. A `text` column becomes one assistant message without a user message, so
# that the chat template applies and the loss includes every token of the text.
_TEXTS = (
    ColumnMapping(prompt=("prompt",), response="completion"),
    ColumnMapping(prompt=("prompt",), response="response"),
    ColumnMapping(prompt=("instruction", "input"), response="output"),
    ColumnMapping(prompt=("instruction",), response="output"),
    ColumnMapping(prompt=("instruction", "context"), response="response"),
    ColumnMapping(prompt=("instruction",), response="response"),
    ColumnMapping(prompt=("question",), response="answer"),
    ColumnMapping(response="text"),
)
_ACCEPTED = (
    "messages, conversations, prompt + completion, instruction (+ input) + output, "
    "instruction (+ context) + response, question + answer, text"
)


def map_columns(columns: Mapping[str, Column], data: Data) -> ColumnMapping:
    """Choose the columns that the plan names, else those with well-known names.

    Raises PermanentError that lists the existing columns if none fit.
    """
    if data.messages_column or data.context_column or data.response_column:
        return _named(columns, data)
    for name in _MESSAGES:
        if name in columns and columns[name].kind != "other":
            return ColumnMapping(messages=name)
    for mapped in _TEXTS:
        if all(name in columns and columns[name].kind == "text" for name in mapped.names()):
            return mapped
    raise PermanentError(
        f"no known conversation columns; the file has {_list_text(columns)}; known are "
        f"{_ACCEPTED}; name others with DatasetConfig's messages_column, or context_column and "
        "response_column"
    )


def _named(columns: Mapping[str, Column], data: Data) -> ColumnMapping:
    if data.messages_column:
        _check(columns, "messages_column", data.messages_column, ("messages", "text"))
        return ColumnMapping(messages=data.messages_column)
    if not data.response_column:
        raise PermanentError(
            f"context_column {data.context_column!r} is set without response_column; "
            f"the file has {_list_text(columns)}"
        )
    if data.context_column:
        _check(columns, "context_column", data.context_column, ("text",))
    _check(columns, "response_column", data.response_column, ("text",))
    prompt = (data.context_column,) if data.context_column else ()
    return ColumnMapping(prompt=prompt, response=data.response_column)


def _check(columns: Mapping[str, Column], setting: str, name: str, kinds: tuple[str, ...]) -> None:
    if name not in columns:
        raise PermanentError(
            f"{setting} {name!r} is not a column of the file; the file has {_list_text(columns)}"
        )
    if columns[name].kind not in kinds:
        accepted = "text" if kinds == ("text",) else "a list of {role, content}"
        raise PermanentError(
            f"{setting} {name!r} has type {columns[name].type}; expected {accepted}"
        )


def _list_text(columns: Mapping[str, Column]) -> str:
    return ", ".join(f"{name} ({column.type})" for name, column in columns.items()) or "none"
