"""Convert batches of rows into conversations, and find the unusable ones.

A conversation is an optional system message, then alternating user and assistant messages, the
last one from the assistant; or a single assistant message, the form of plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from argotune.steps.dataset.columns import ColumnMapping
from argotune.steps.dataset.source import Batch, Values

Flags = npt.NDArray[np.bool_]

ROLES = ("system", "user", "assistant")
_SYSTEM, _USER, _ASSISTANT = range(3)
_UNKNOWN = 255
_PARAGRAPH = pa.scalar("\n\n", pa.large_string())
_CODES = {"system": _SYSTEM, "user": _USER, "assistant": _ASSISTANT}
_SHAREGPT_CODES = _CODES | {"human": _USER, "gpt": _ASSISTANT}

REASONS = (
    "",
    "malformed",
    "empty",
    "unknown_role",
    "no_assistant",
    "wrong_order",
    "too_long",
)
"""Reasons to reject a row; index 0 is a usable row. Of several reasons the first counts."""
_MALFORMED, _EMPTY, _UNKNOWN_ROLE, _NO_ASSISTANT, _WRONG_ORDER, TOO_LONG = range(1, len(REASONS))


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """Columnar conversations: the messages of all n rows, concatenated to m messages."""

    lengths: npt.NDArray[np.int64]
    """Number of messages of each row, shape (n,)."""
    roles: npt.NDArray[np.uint8]
    """Index into ROLES of each message, shape (m,)."""
    contents: pa.Array
    """Text of each message, large_string without nulls, length m."""
    malformed: Flags
    """Rows whose value has the wrong type for its column, shape (n,)."""

    def starts(self) -> npt.NDArray[np.int64]:
        """Index of each row's first message, followed by m; shape (n + 1,)."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    def select(self, rows: Flags) -> Conversations:
        """The conversations of the selected rows; `rows` has shape (n,)."""
        if rows.all():
            return self
        messages = np.repeat(rows, self.lengths)
        return Conversations(
            lengths=self.lengths[rows],
            roles=self.roles[messages],
            contents=self.contents.filter(pa.array(messages)),
            malformed=self.malformed[rows],
        )

    def without(self, messages: Flags) -> Conversations:
        """The same rows without the selected messages; `messages` has shape (m,)."""
        if not messages.any():
            return self
        dropped = np.bincount(self._rows()[messages], minlength=len(self.lengths))
        return replace(
            self,
            lengths=self.lengths - dropped,
            roles=self.roles[~messages],
            contents=self.contents.filter(pa.array(~messages)),
        )

    def any_message(self, messages: Flags) -> Flags:
        """Which rows contain a selected message; shapes (m,) -> (n,)."""
        rows: Flags = np.zeros(len(self.lengths), dtype=np.bool_)
        rows[self._rows()[messages]] = True
        return rows

    def position(self) -> npt.NDArray[np.int64]:
        """Index of each message within its row, from 0; shape (m,)."""
        return np.arange(len(self.roles)) - np.repeat(self.starts()[:-1], self.lengths)

    def _rows(self) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def read_conversations(batch: Batch, mapped: ColumnMapping) -> Conversations:
    """Convert a batch of rows into conversations, without empty system messages."""
    if mapped.messages is not None:
        values = batch.columns[mapped.messages]
        found = _from_messages(values)
    else:
        found = _from_texts(batch, mapped)
    found = replace(found, malformed=found.malformed | batch.malformed)
    return found.without((found.roles == _SYSTEM) & _blank(found.contents))


def reject(conversations: Conversations) -> npt.NDArray[np.uint8]:
    """Index into REASONS of each row, 0 for usable rows; shape (n,)."""
    reasons = np.zeros(len(conversations.lengths), dtype=np.uint8)
    checks = (
        (_WRONG_ORDER, _wrong_order(conversations)),
        (_NO_ASSISTANT, ~conversations.any_message(conversations.roles == _ASSISTANT)),
        (_UNKNOWN_ROLE, conversations.any_message(conversations.roles == _UNKNOWN)),
        (_EMPTY, _empty(conversations)),
        (_MALFORMED, conversations.malformed),
    )
    for code, rows in checks:
        reasons[rows] = code
    return reasons


def _empty(conversations: Conversations) -> Flags:
    blank = conversations.any_message(_blank(conversations.contents))
    return np.asarray(blank | (conversations.lengths == 0))


def _wrong_order(conversations: Conversations) -> Flags:
    roles, position = conversations.roles, conversations.position()
    leading = (roles == _SYSTEM) & (position == 0)
    has_system = conversations.any_message(leading).astype(np.int64)
    turn = position - np.repeat(has_system, conversations.lengths)
    turns = np.repeat(conversations.lengths - has_system, conversations.lengths)
    expected = np.where(turn % 2 == 0, _USER, _ASSISTANT)
    expected[turns == 1] = _ASSISTANT
    # An even number of alternating turns that starts with the user ends with the assistant.
    odd_end = (turns != 1) & (turns % 2 == 1)
    return conversations.any_message(~leading & ((roles != expected) | odd_end))


def _blank(contents: pa.Array) -> Flags:
    """Which texts have no visible character."""
    is_space = pc.utf8_is_space(contents)
    is_empty = pc.equal(pc.binary_length(contents), 0)
    return _flags(pc.or_(is_space, is_empty))


def _from_messages(values: Values) -> Conversations:
    if not isinstance(values, pa.Array):
        return _from_lists(values)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return _from_arrow_lists(values)
    if pa.types.is_fixed_size_list(values.type):
        return _from_arrow_lists(values.cast(pa.large_list(values.type.value_type)))
    return _from_lists(values.to_pylist())


def _from_arrow_lists(values: pa.Array) -> Conversations:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)
    flat = pc.list_flatten(values)
    fields = {field.name for field in flat.type}
    if {"role", "content"} <= fields:
        role, content, codes = "role", "content", _CODES
    else:
        role, content, codes = "from", "value", _SHAREGPT_CODES
    return Conversations(
        lengths=lengths,
        roles=_role_codes(pc.struct_field(flat, role), codes),
        contents=_texts(pc.struct_field(flat, content)),
        malformed=np.zeros(len(values), dtype=np.bool_),
    )


def _role_codes(roles: pa.Array, codes: dict[str, int]) -> npt.NDArray[np.uint8]:
    known = pa.array(list(codes), pa.large_string())
    index = pc.fill_null(pc.index_in(_texts(roles), known), len(codes))
    table = np.array([*codes.values(), _UNKNOWN], dtype=np.uint8)
    return np.asarray(table[np.asarray(index)])


def _texts(values: pa.Array) -> pa.Array:
    """The array as large_string, with the empty string for null."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return pc.fill_null(pc.cast(values, pa.large_string()), "")


def _from_lists(values: Sequence[object]) -> Conversations:
    """Conversations from lists of message objects, or from strings with such a list as JSON."""
    lengths, roles, contents, malformed = [], bytearray(), list[str](), []
    for value in values:
        messages = _decoded(value)
        row = None if messages is None else _messages(messages)
        malformed.append(row is None)
        lengths.append(len(row or ()))
        for code, content in row or ():
            roles.append(code)
            contents.append(content)
    array, broken = _large_strings(contents)
    found = Conversations(
        lengths=np.array(lengths, dtype=np.int64),
        roles=np.frombuffer(bytes(roles), dtype=np.uint8),
        contents=array,
        malformed=np.array(malformed, dtype=np.bool_),
    )
    return replace(found, malformed=found.malformed | found.any_message(broken))


def _decoded(value: object) -> list[Any] | None:
    """The value as a list: empty for null, None if it is not a list."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value) if value.strip() else []
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return None
    if value is None:
        return []
    return value if isinstance(value, list) else None


def _messages(values: list[Any]) -> list[tuple[int, str]] | None:
    """Role codes and texts of the messages; None if a value is not a message."""
    row = []
    for value in values:
        if not isinstance(value, dict):
            return None
        if "role" in value:
            role, content, codes = value["role"], value.get("content"), _CODES
        else:
            role, content, codes = value.get("from"), value.get("value"), _SHAREGPT_CODES
        if not isinstance(role, str) or not isinstance(content, str | None):
            return None
        row.append((codes.get(role, _UNKNOWN), content or ""))
    return row


def _from_texts(batch: Batch, mapped: ColumnMapping) -> Conversations:
    rows = len(batch.numbers)
    malformed = np.zeros(rows, dtype=np.bool_)
    texts = {}
    for name in mapped.names():
        texts[name], broken = _text_column(batch.columns[name])
        malformed |= broken
    response = texts[mapped.response or ""]
    if not mapped.prompt:
        return Conversations(
            lengths=np.ones(rows, dtype=np.int64),
            roles=np.full(rows, _ASSISTANT, dtype=np.uint8),
            contents=response,
            malformed=malformed,
        )
    prompt = texts[mapped.prompt[0]]
    for name in mapped.prompt[1:]:
        joined = pc.binary_join_element_wise(prompt, texts[name], _PARAGRAPH)
        prompt = pc.if_else(pa.array(_blank(texts[name])), prompt, joined)
    alternating = np.arange(2 * rows).reshape(2, rows).T.ravel()
    return Conversations(
        lengths=np.full(rows, 2, dtype=np.int64),
        roles=np.tile(np.array([_USER, _ASSISTANT], dtype=np.uint8), rows),
        contents=pa.concat_arrays([prompt, response]).take(pa.array(alternating)),
        malformed=malformed,
    )


def _text_column(values: Values) -> tuple[pa.Array, Flags]:
    """The values as texts, and which of them are not texts."""
    if isinstance(values, pa.Array):
        return _texts(values), np.zeros(len(values), dtype=np.bool_)
    texts = [_text(value) for value in values]
    array, broken = _large_strings([text or "" for text in texts])
    return array, broken | np.array([text is None for text in texts], dtype=np.bool_)


def _text(value: object) -> str | None:
    """A string, number or null as text; None for other types."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else None


def _large_strings(texts: list[str]) -> tuple[pa.Array, Flags]:
    """The texts as an Arrow array, and which of them have no UTF-8 form (lone surrogates)."""
    none = np.zeros(len(texts), dtype=np.bool_)
    try:
        return pa.array(texts, pa.large_string()), none
    except UnicodeEncodeError:
        broken = np.array([not _is_utf8(text) for text in texts], dtype=np.bool_)
        kept = ["" if bad else text for text, bad in zip(texts, broken, strict=True)]
        return pa.array(kept, pa.large_string()), broken


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flags(array: pa.Array) -> Flags:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)
