"""Convert batches of rows into conversations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from argotune.steps.contracts.dataset_rows import FIELDS
from argotune.steps.dataset import message_fields
from argotune.steps.dataset.arrow_source import is_text
from argotune.steps.dataset.columns import ColumnMapping
from argotune.steps.dataset.conversations import (
    ASSISTANT,
    NOT_PARSED,
    SYSTEM,
    TOOL,
    UNKNOWN,
    USER,
    Conversations,
    blank,
    code_of,
    flags,
)
from argotune.steps.dataset.json_keys import repeated_key
from argotune.steps.dataset.message_fields import Codes, Flags, Refused, UnreadFields
from argotune.steps.dataset.source import Batch, Values
from argotune.steps.dataset.tools import read_calls, read_tools

_CODES = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    **dict.fromkeys(message_fields.TOOL_ROLES, TOOL),
}
_SHAREGPT_CODES = _CODES | {"human": USER, "gpt": ASSISTANT}

_NAMES: tuple[tuple[str, str, Mapping[str, int]], ...] = (
    ("role", "content", _CODES),
    ("from", "value", _SHAREGPT_CODES),
)
"""The fields of a message and the codes of its roles: OpenAI's names and ShareGPT's."""

_MALFORMED = code_of(message_fields.MALFORMED)
_NO_MESSAGES = object()
_NO_FIELDS: Mapping[str, str] = {}
_PARAGRAPH = pa.scalar("\n\n", pa.large_string())


def read_conversations(
    batch: Batch, mapped: ColumnMapping, unread: UnreadFields | None = None
) -> Conversations:
    """Convert a batch of rows into conversations, without empty system messages.

    `unread` gets the names of the messages' fields that are of no use.
    """
    unread = unread or UnreadFields()
    if mapped.messages and not mapped.system:
        found = _from_messages(batch.columns[mapped.messages], unread)
    elif mapped.messages or mapped.history or mapped.are_lists:
        found = _from_lists(_joined_rows(batch, mapped), unread)
    else:
        found = _from_texts(batch, mapped)
    if mapped.tools:
        found = _with_tools(found, _python_values(batch.columns[mapped.tools]))
    refused = np.where(batch.malformed, np.uint8(NOT_PARSED), found.refused)
    found = replace(found, refused=refused)
    return found.without((found.roles == SYSTEM) & blank(found.contents))


def _from_messages(values: Values, unread: UnreadFields) -> Conversations:
    if not isinstance(values, pa.Array):
        return _from_lists(values, unread)
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.large_list(values.type.value_type))
    is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
    if is_list and not _has_parts(values.type.value_type):
        flat = pc.list_flatten(values)
        if not message_fields.has_more(flat) and not _has_call_role(flat):
            unread.add_messages(flat)
            return _from_arrow_lists(values, flat)
    return _from_lists(_python_values(values), unread)


def _has_parts(message: pa.DataType) -> bool:
    """Whether the content of these messages is a list of parts."""
    return any(field.name in ("content", "value") and not is_text(field.type) for field in message)


def _from_arrow_lists(values: pa.Array, flat: pa.StructArray) -> Conversations:
    """Conversations from lists, and their messages, that have only role, content and weight."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)
    roles, contents = _roles_and_contents(flat)
    assistant = roles == ASSISTANT
    learned, wrong, of_others = message_fields.arrow_learned(flat, assistant)
    codes = np.zeros(len(roles), dtype=np.uint8)
    codes[of_others] = code_of(message_fields.LEARN_OF_OTHERS)
    codes[wrong] = code_of(message_fields.LEARN_VALUE)
    return Conversations(
        lengths=lengths,
        roles=roles,
        contents=contents,
        learned=learned,
        refused=_of_rows(codes, lengths),
    )


def _roles_and_contents(flat: pa.Array) -> tuple[npt.NDArray[np.uint8], pa.Array]:
    """Role codes and texts of messages; each has role and content, or from and value."""
    fields = {field.name for field in flat.type}
    roles, contents = None, None
    for role, content, codes in _NAMES:
        if not {role, content} <= fields:
            continue
        found = _role_codes(pc.struct_field(flat, role), codes)
        texts = _texts(pc.struct_field(flat, content))
        if roles is None or contents is None:
            roles, contents, given = found, texts, _has_value(pc.struct_field(flat, role))
        else:
            # Data sets of both kinds that were put together have nulls for the other kind's.
            roles = np.where(given, roles, found)
            contents = pc.if_else(pa.array(given), contents, texts)
    assert roles is not None
    assert contents is not None
    return roles, contents


def _has_value(values: pa.Array) -> Flags:
    return flags(values.is_valid())


def _has_call_role(flat: pa.Array) -> bool:
    """Whether the content of a message is a call, which is none of text."""
    return any(
        pc.any(pc.equal(_texts(pc.struct_field(flat, name)), message_fields.CALL_ROLE)).as_py()
        for name in {field.name for field in flat.type} & {"role", "from"}
    )


def _of_rows(codes: Codes, lengths: npt.NDArray[np.int64]) -> Codes:
    """The highest code of each row's messages; shapes (m,) and (n,) -> (n,)."""
    rows = np.zeros(len(lengths), dtype=np.uint8)
    np.maximum.at(rows, np.repeat(np.arange(len(lengths)), lengths), codes)
    return rows


def _role_codes(roles: pa.Array, codes: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    known = pa.array(list(codes), pa.large_string())
    index = pc.fill_null(pc.index_in(_texts(roles), known), len(codes))
    table = np.array([*codes.values(), UNKNOWN], dtype=np.uint8)
    return np.asarray(table[np.asarray(index)])


def _texts(values: pa.Array) -> pa.Array:
    """The array as large_string, with the empty string for null."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        # pandas writes a missing number as NaN.
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return pc.fill_null(pc.cast(values, pa.large_string()), "")


def _joined_rows(batch: Batch, mapped: ColumnMapping) -> Iterator[object]:
    """Each row as one list of messages, from the columns that hold parts of it."""
    columns = {name: _python_values(batch.columns[name]) for name in mapped.names()}
    for index in range(len(batch.numbers)):
        row = {name: values[index] for name, values in columns.items()}
        try:
            yield [*_system_turn(row, mapped), *_other_turns(row, mapped)]
        except Refused:
            # No list of messages either, which `_from_lists` refuses.
            yield _NO_MESSAGES


def _other_turns(row: Mapping[str, object], mapped: ColumnMapping) -> list[object]:
    if mapped.messages:
        return _list_of(row[mapped.messages])
    response = row[mapped.response or ""]
    if mapped.are_lists:
        return [*_list_of(row[mapped.prompt[0]]), *_list_of(response)]
    texts = [_text_or_refused(row[name]) for name in mapped.prompt]
    prompt = "\n\n".join([texts[0], *filter(str.strip, texts[1:])])
    history = _list_of(row[mapped.history]) if mapped.history else []
    turns = [(*_pair(each),) for each in history] + [(prompt, _text_or_refused(response))]
    return [turn for question, answer in turns for turn in _question_and_answer(question, answer)]


def _system_turn(row: Mapping[str, object], mapped: ColumnMapping) -> list[object]:
    """The column's system message, for a row of messages without one of its own."""
    text = _text_or_refused(row[mapped.system]) if mapped.system else ""
    if not text.strip():
        return []
    first = _list_of(row[mapped.messages])[:1] if mapped.messages else []
    has_own = any(isinstance(each, dict) and _role_of(each) == SYSTEM for each in first)
    return [] if has_own else [{"role": "system", "content": text}]


def _question_and_answer(question: str, answer: str) -> list[object]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise Refused(message_fields.MALFORMED)
    return _text_or_refused(value[0]), _text_or_refused(value[1])


def _list_of(value: object) -> list[Any]:
    found = _list_or_none(value)
    if found is None:
        raise Refused(message_fields.MALFORMED)
    return found


def _text_or_refused(value: object) -> str:
    text = _text(value)
    if text is None:
        raise Refused(message_fields.MALFORMED)
    return text


def _python_values(values: Values) -> Sequence[object]:
    if not isinstance(values, pa.Array):
        return values
    found: list[object] = values.to_pylist(maps_as_pydicts="lossy")
    return found if is_text(values.type) else [_without_nulls(value) for value in found]


def _without_nulls(value: object) -> object:
    """The value without the fields that Arrow adds, because all objects of a column have the same.

    Otherwise the arguments of each call would have those of all calls of the file.
    """
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


class _Message(NamedTuple):
    role: int
    text: str
    is_learned: bool
    fields: Mapping[str, str] = _NO_FIELDS


def _from_lists(values: Iterable[object], unread: UnreadFields) -> Conversations:
    """Conversations from lists of message objects, or from strings with such a list as JSON."""
    lengths, messages, refused = [], list[_Message](), []
    for value in values:
        try:
            row, code = _messages(value, unread), 0
        except Refused as error:
            row, code = [], code_of(error.reason)
        lengths.append(len(row))
        messages.extend(row)
        refused.append(code)
    array, broken = _large_strings([message.text for message in messages])
    fields = {}
    for name in FIELDS:
        if any(name in message.fields for message in messages):
            fields[name], bad = _large_strings([message.fields.get(name) for message in messages])
            broken |= bad
    found = Conversations(
        lengths=np.array(lengths, dtype=np.int64),
        roles=np.array([message.role for message in messages], dtype=np.uint8),
        contents=array,
        learned=np.array([message.is_learned for message in messages], dtype=np.bool_),
        refused=np.array(refused, dtype=np.uint8),
        fields=fields,
    )
    return replace(found, refused=_with_broken(found.refused, found.any_message(broken)))


def _with_broken(refused: Codes, broken: Flags) -> Codes:
    return np.where(broken & (refused == 0), np.uint8(_MALFORMED), refused)


def _list_or_none(value: object) -> list[Any] | None:
    """The value as a list: empty for null, None if it is not a list."""
    if isinstance(value, str):
        try:
            text = value.encode()
            value = msgspec.json.decode(text) if value.strip() else []
            if repeated_key(text, value) is not None:
                return None
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return None
    if value is None:
        return []
    return value if isinstance(value, list) else None


def _messages(value: object, unread: UnreadFields) -> list[_Message]:
    """The messages of a row. Raises Refused."""
    return [_message(each, unread) for each in _list_of(value)]


def _message(value: object, unread: UnreadFields) -> _Message:
    if not isinstance(value, dict):
        raise Refused(message_fields.MALFORMED)
    name, content = value.get("role"), value.get("content")
    if isinstance(name, str) and isinstance(content, str) and name in _CODES and len(value) == 2:
        # Most messages have no other field, and are read in half of the time so.
        return _Message(_CODES[name], content, name == "assistant")
    message_fields.check_fields(value)
    role = _role_of(value)
    unread.add_message(value)
    is_assistant = role == ASSISTANT
    content, calls = value.get(_names_of(value)[1]), message_fields.calls_of(value)
    if is_assistant and _is_call(value):
        content, calls = None, content
    if calls is not None and not is_assistant:
        raise Refused(message_fields.CALLS_OF_OTHERS)
    fields = message_fields.text_fields(value, is_assistant=is_assistant)
    if calls is not None:
        fields["tool_calls"] = read_calls(calls)
    return _Message(
        role,
        message_fields.text_of_content(content),
        message_fields.is_learned(value, is_assistant=is_assistant),
        fields,
    )


def _role_of(message: Mapping[str, object]) -> int:
    name, _, codes = _names_of(message)
    role = message.get(name)
    if not isinstance(role, str):
        raise Refused(message_fields.MALFORMED)
    return ASSISTANT if _is_call(message) else codes.get(role, UNKNOWN)


def _is_call(message: Mapping[str, object]) -> bool:
    """Whether the message's content is a call, as ShareGPT's role says."""
    return message.get(_names_of(message)[0]) == message_fields.CALL_ROLE


def _names_of(message: Mapping[str, object]) -> tuple[str, str, Mapping[str, int]]:
    """The names of a message's fields; those of the other kind are null where both are there."""
    return next((names for names in _NAMES if message.get(names[0]) is not None), _NAMES[0])


def _with_tools(conversations: Conversations, values: Sequence[object]) -> Conversations:
    """The rows with their tools; a row whose tools cannot be read is refused."""
    found = list[str | None]()
    refused = conversations.refused.copy()
    for index, value in enumerate(values):
        try:
            found.append(read_tools(value))
        except Refused as error:
            found.append(None)
            refused[index] = refused[index] or code_of(error.reason)
    tools = pa.array(found, pa.large_string()) if any(found) else None
    return replace(conversations, refused=refused, tools=tools)


def _from_texts(batch: Batch, mapped: ColumnMapping) -> Conversations:
    rows = len(batch.numbers)
    broken = np.zeros(rows, dtype=np.bool_)
    texts = {}
    for name in mapped.names():
        texts[name], bad = _text_column(batch.columns[name])
        broken |= bad
    response = texts[mapped.response or ""]
    if not mapped.prompt:
        return _turns([(ASSISTANT, response)], broken)
    prompt = texts[mapped.prompt[0]]
    for name in mapped.prompt[1:]:
        joined = pc.binary_join_element_wise(prompt, texts[name], _PARAGRAPH)
        prompt = pc.if_else(pa.array(blank(texts[name])), prompt, joined)
    return _turns([(USER, prompt), (ASSISTANT, response)], broken)


def _turns(turns: Sequence[tuple[int, pa.Array]], broken: Flags) -> Conversations:
    """Rows with the same roles, whose texts stand in one array for each turn; `broken` (n,)."""
    rows, count = len(broken), len(turns)
    roles = np.tile(np.array([role for role, _ in turns], dtype=np.uint8), rows)
    by_row = np.arange(count * rows).reshape(count, rows).T.ravel()
    return Conversations(
        lengths=np.full(rows, count, dtype=np.int64),
        roles=roles,
        contents=pa.concat_arrays([texts for _, texts in turns]).take(pa.array(by_row)),
        learned=roles == ASSISTANT,
        refused=_with_broken(np.zeros(rows, dtype=np.uint8), broken),
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
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return "" if math.isnan(value) else str(value)


def _large_strings(texts: Sequence[str | None]) -> tuple[pa.Array, Flags]:
    """The texts as an Arrow array, and which of them have no UTF-8 form (lone surrogates)."""
    none = np.zeros(len(texts), dtype=np.bool_)
    try:
        return pa.array(texts, pa.large_string()), none
    except UnicodeEncodeError:
        broken = np.array([not _is_utf8(text or "") for text in texts], dtype=np.bool_)
        kept = ["" if bad else text for text, bad in zip(texts, broken, strict=True)]
        return pa.array(kept, pa.large_string()), broken


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
