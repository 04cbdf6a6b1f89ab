"""Find the columns of a file that contain the conversation, and those that must not be dropped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.chat_exports import export_problem
from argotune.steps.dataset.source import Column, Kind


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """The columns with a conversation: a list of messages, or prompt and response."""

    messages: str | None = None
    """Column with a list of {role, content} or {from, value}, or with such a list as JSON."""
    system: str | None = None
    """Column with the system message, for rows that have none of their own."""
    history: str | None = None
    """Column with a list of [question, answer], the turns before the prompt."""
    prompt: tuple[str, ...] = ()
    """Columns of the user's message, joined by an empty line; empty: no user message."""
    response: str | None = None
    """Column with the assistant's message."""
    are_lists: bool = False
    """Prompt and response are lists of messages, as in TRL's conversational prompt-completion."""
    tools: str | None = None
    """Column with the functions that the model may call, a list of them or its JSON text."""

    def names(self) -> list[str]:
        """All columns, in reading order."""
        parts = (self.messages, self.system, self.history, *self.prompt, self.response)
        names = [*parts, self.tools]
        return [name for name in names if name is not None]

    def kinds(self) -> Iterator[tuple[str, tuple[Kind, ...]]]:
        """Each column with the kinds that it may have."""
        for name in self.names():
            if name == self.messages:
                yield name, ("messages", "text")
            elif name == self.history:
                yield name, ("messages", "list")
            elif name == self.tools:
                yield name, ("messages", "list", "text")
            else:
                yield name, ("messages",) if self.are_lists and name != self.system else ("text",)


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """Well-known names of columns."""

    response: str
    prompt: str | None = None
    more: tuple[str, ...] = ()
    """Columns that belong to the prompt where they are there; of several the first is used."""
    has_lists: bool = False
    """Prompt and response may be lists of messages."""


_MESSAGES = ("messages", "conversations")
# In order of preference. A `text` column becomes one assistant message without a user message, so
# that the chat template applies and the loss includes every token of the text.
_PATTERNS = (
    _Pattern(prompt="prompt", response="completion", has_lists=True),
    _Pattern(prompt="prompt", response="response"),
    _Pattern(prompt="instruction", more=("input", "context"), response="output"),
    _Pattern(prompt="instruction", more=("context", "input"), response="response"),
    _Pattern(prompt="question", response="answer"),
    _Pattern(response="text"),
)
_SYSTEM, _HISTORY = "system", "history"
"""Columns beside a pattern's whose meaning is fixed: LLaMA-Factory's, and ShareGPT's `system`."""
_TOOLS = ("tools", "functions")
"""The same of functions to call: TRL's and ShareGPT's name, and OpenAI's former one."""
_TOOLS_TEXT = "a list of functions or its JSON text"
_ACCEPTED = (
    "messages, conversations, prompt + completion, instruction (+ input or context) + output, "
    "instruction (+ context or input) + response, question + answer, text, and system and tools "
    "beside these"
)
_MEANINGFUL = frozenset(
    {
        *("input", "inputs", "context", "contexts", "system", "system_prompt", "history"),
        *("tools", "functions", "choices", "options", "label", "labels"),
        *("image", "images", "video", "videos", "audio", "audios"),
        *("reasoning", "reasoning_content", "thinking", "rationale", "knowledge"),
        *("summary", "title", "passage", "document", "documents", "article"),
        *("chosen", "rejected"),
    }
)
"""Names of columns that carry a part of the prompt or the answer, or say what a row is for."""
_ADVICE = (
    "name the columns with DatasetConfig's messages_column, or context_column and "
    "response_column, or list those to leave out in Argotune.ignore_columns"
)
_OTHER_METHODS = (
    ({"chosen", "rejected"}, "preference pairs are DPO's, and argotune tunes on answers alone"),
    ({"label", "prompt"}, "rows with a label are KTO's, and argotune tunes on answers alone"),
)


def map_columns(columns: Mapping[str, Column], data: Data) -> ColumnMapping:
    """Choose the columns that the plan names, else those with well-known names.

    Raises PermanentError that lists the existing columns if none fit, if one has a type that
    cannot be read, if a column that carries a part of the conversation would be left out, or if
    they are those of a chat program's export.
    """
    ignored = [name for name in data.ignore_columns if name in columns]
    columns = {name: column for name, column in columns.items() if name not in ignored}
    is_named = bool(data.messages_column or data.context_column or data.response_column)
    mapped = _mapping_of_names(columns, data) if is_named else _known(columns)
    for name, kinds in mapped.kinds():
        if columns[name].kind not in kinds:
            expected = _TOOLS_TEXT if name == mapped.tools else _expected(kinds)
            raise PermanentError(
                f"column {name!r} has type {columns[name].type}; expected {expected}; {_ADVICE}"
            )
    if not is_named:
        _check_left_out(columns, mapped)
    return mapped


def unused_columns(columns: Collection[str], mapped: ColumnMapping, data: Data) -> list[str]:
    """Columns that are neither read nor named in ignore_columns."""
    used = {*mapped.names(), *data.ignore_columns}
    return [name for name in columns if name not in used]


def _known(columns: Mapping[str, Column]) -> ColumnMapping:
    problem = export_problem(columns)
    if problem is not None:
        raise PermanentError(problem)
    for name in _MESSAGES:
        if name in columns:
            return ColumnMapping(
                messages=name, system=_if_there(_SYSTEM, columns), tools=_tools_of(columns)
            )
    for pattern in _PATTERNS:
        if {pattern.response, pattern.prompt or pattern.response} <= columns.keys():
            return _mapping_of(pattern, columns)
    raise PermanentError(
        f"no known conversation columns; the file has {_list_text(columns)}; known are "
        f"{_ACCEPTED}; {_ADVICE}"
    )


def _mapping_of(pattern: _Pattern, columns: Mapping[str, Column]) -> ColumnMapping:
    more = [name for name in pattern.more if name in columns][:1]
    prompt = (pattern.prompt, *more) if pattern.prompt else ()
    are_lists = pattern.has_lists and columns[pattern.response].kind == "messages"
    return ColumnMapping(
        prompt=prompt,
        response=pattern.response,
        system=_if_there(_SYSTEM, columns),
        history=_if_there(_HISTORY, columns) if prompt and not are_lists else None,
        are_lists=are_lists,
        tools=_tools_of(columns) if prompt else None,
    )


def _if_there(name: str, columns: Mapping[str, Column]) -> str | None:
    return name if name in columns else None


def _tools_of(columns: Mapping[str, Column]) -> str | None:
    return next((name for name in _TOOLS if name in columns), None)


def _check_left_out(columns: Mapping[str, Column], mapped: ColumnMapping) -> None:
    """Raise PermanentError for columns that would be dropped although they carry meaning."""
    left_out = [name for name in columns if name not in mapped.names()]
    names = {name.strip().lower(): name for name in left_out}
    found = [names[name] for name in names if name in _MEANINGFUL]
    if not found:
        return
    all_names = {name.strip().lower() for name in columns}
    method = next((f"; {text}" for needed, text in _OTHER_METHODS if needed <= all_names), "")
    raise PermanentError(
        f"columns {', '.join(map(repr, found))} would be left out beside "
        f"{', '.join(mapped.names())}, and may be a part of the prompt or the answer{method}; "
        f"{_ADVICE}"
    )


def _mapping_of_names(columns: Mapping[str, Column], data: Data) -> ColumnMapping:
    settings = {
        "messages_column": data.messages_column,
        "context_column": data.context_column,
        "response_column": data.response_column,
    }
    for setting, name in settings.items():
        if name and name not in columns:
            raise PermanentError(
                f"{setting} {name!r} is not a column of the file; the file has "
                f"{_list_text(columns)}"
            )
    if data.messages_column:
        return ColumnMapping(
            messages=data.messages_column,
            system=_if_there(_SYSTEM, columns),
            tools=_tools_of(columns),
        )
    prompt = (data.context_column,) if data.context_column else ()
    return ColumnMapping(prompt=prompt, response=data.response_column)


def _expected(kinds: tuple[Kind, ...]) -> str:
    texts = {
        "text": "text",
        "messages": "a list of {role, content}",
        "list": "a list of [question, answer]",
    }
    return " or ".join(texts[kind] for kind in kinds if kind in texts)


def _list_text(columns: Mapping[str, Column]) -> str:
    return ", ".join(f"{name!r} ({column.type})" for name, column in columns.items()) or "none"
