"""What the fields of a message say beside who writes and what: whether it is learned, or refused.

A field that changes what is learned, or what the model is to answer, is used or the row is refused
by the field's name. Other fields, such as an id, are of no use for training, and are told by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from argotune.steps.dataset import chat_exports

Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]

LEARN_FIELDS = ("weight", "train", "training", "loss_mask")
"""1 or true: the message is learned; 0 or false: it is not. The
names are those of OpenAI, axolotl (two) and UI-TARS."""
REFUSED_FIELDS = (
    "tools",
    "functions",
    "images",
    "image",
    "image_url",
    "audio",
    "video",
    "videos",
    "refusal",
)
"""Fields that carry a part of the conversation which no chat template is given; `tools` of the
whole row is a column."""
TOOL_ROLES = ("tool", "function", "observation", "ipython")
"""Roles of a tool's result: OpenAI's (two), ShareGPT's and Llama's."""
CALL_ROLE = "function_call"
"""ShareGPT's role of the assistant's message that calls a tool."""
_CALL_FIELDS = ("tool_calls", "function_call")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Names of the same in data sets; transformers gives a template the one that it reads."""
_RENDERED_FIELDS = (*_CALL_FIELDS, *_REASONING_FIELDS, "name", "tool_call_id")
NOTHING: tuple[object, ...] = (None, "", [], {})
"""Values that carry nothing."""
_READ_FIELDS = frozenset(
    {"role", "content", "from", "value", *LEARN_FIELDS, *REFUSED_FIELDS, *_RENDERED_FIELDS}
)
_MOST_UNREAD = 100
"""Names of fields that are remembered; a file may have a million."""

MALFORMED = "malformed"
TOOLS = "malformed_tools"
TOOL_CALLS = "malformed_tool_calls"
PART = "content_part_that_is_no_text"
LEARN_VALUE = "weight_other_than_0_or_1"
LEARN_OF_OTHERS = "weight_1_of_another_role"
CALLS_OF_OTHERS = "tool_calls_of_another_role"
REASONING_OF_OTHERS = "reasoning_content_of_another_role"

FIELD_REASONS = tuple(f"has_{name}" for name in REFUSED_FIELDS)
REASONS = (
    *(MALFORMED, TOOLS, TOOL_CALLS, PART, LEARN_VALUE),
    *(LEARN_OF_OTHERS, CALLS_OF_OTHERS, REASONING_OF_OTHERS),
    *FIELD_REASONS,
    *chat_exports.MESSAGES,
)
"""Why a row is refused for a field of one of its messages."""


class Refused(Exception):
    """A message cannot be used; the reason is one of REASONS."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def check_fields(message: Mapping[str, object]) -> None:
    """Raise Refused if a field carries what is not rendered; empty values carry nothing."""
    if "role" not in message and (export := chat_exports.reason_of(message)):
        raise Refused(export)
    for name, reason in zip(REFUSED_FIELDS, FIELD_REASONS, strict=True):
        if message.get(name) not in NOTHING:
            raise Refused(reason)


def calls_of(message: Mapping[str, object]) -> object:
    """The calls of a message in any form, None without any. Raises Refused."""
    given = [message[name] for name in _CALL_FIELDS if message.get(name) not in NOTHING]
    if len(given) > 1:
        raise Refused(TOOL_CALLS)
    return given[0] if given else None


def text_fields(message: Mapping[str, object], *, is_assistant: bool) -> dict[str, str]:
    """The texts beside the content that a template is given. Raises Refused."""
    found = {name: _text(message, name) for name in ("name", "tool_call_id")}
    reasoning = {text for name in _REASONING_FIELDS if (text := _text(message, name))}
    if len(reasoning) > 1:
        raise Refused(MALFORMED)
    if reasoning and not is_assistant:
        raise Refused(REASONING_OF_OTHERS)
    found["reasoning_content"] = next(iter(reasoning), "")
    return {name: text for name, text in found.items() if text}


def _text(message: Mapping[str, object], name: str) -> str:
    value = message.get(name)
    if value in NOTHING:
        return ""
    if not isinstance(value, str):
        raise Refused(MALFORMED)
    return value


class UnreadFields:
    """Names of the fields that carry something and are not read."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def add(self, names: Iterable[str]) -> None:
        """Add names, in their order, up to a limit."""
        for name in names:
            if len(self._names) < _MOST_UNREAD:
                self._names[name] = None

    def add_message(self, message: Mapping[str, object]) -> None:
        """Add the names of a message's fields that are not read."""
        if message.keys() <= _READ_FIELDS:
            return
        self.add(
            name
            for name, value in message.items()
            if name not in _READ_FIELDS and value not in NOTHING
        )

    def add_messages(self, messages: pa.StructArray) -> None:
        """Add the names of the fields that are not read of an array of messages."""
        names = [field.name for field in messages.type if field.name not in _READ_FIELDS]
        self.add(name for name in names if _is_given(pc.struct_field(messages, name)).any())


def is_learned(message: Mapping[str, object], *, is_assistant: bool) -> bool:
    """Whether the message's tokens are labels. Raises Refused for values that are not 0 or 1."""
    learned = is_assistant
    for name in LEARN_FIELDS:
        value = message.get(name)
        if value is None:
            continue
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise Refused(LEARN_VALUE)
        if value and not is_assistant:
            raise Refused(LEARN_OF_OTHERS)
        learned = learned and bool(value)
    return learned


def text_of_content(content: object) -> str:
    """The text of a message's content: a string, null, or a list of text parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused(MALFORMED)
    return "".join(map(_text_of_part, content))


def _text_of_part(part: object) -> str:
    if not isinstance(part, dict):
        raise Refused(MALFORMED)
    others = [name for name, value in part.items() if name not in ("type", "text") and value]
    text = part.get("text")
    if part.get("type", "text") != "text" or others:
        raise Refused(PART)
    if not isinstance(text, str):
        raise Refused(MALFORMED)
    return text


def has_more(messages: pa.StructArray) -> bool:
    """Whether a message of the array has a field that only `rendered_fields` and others read."""
    known = {field.name for field in messages.type}
    names = (name for name in (*REFUSED_FIELDS, *_RENDERED_FIELDS) if name in known)
    return any(_is_given(pc.struct_field(messages, name)).any() for name in names)


def arrow_learned(messages: pa.StructArray, assistant: Flags) -> tuple[Flags, Flags, Flags]:
    """The same as `is_learned` for m messages: learned, other values, 1 of another role; (m,)."""
    learned, wrong = assistant.copy(), np.zeros(len(messages), dtype=np.bool_)
    of_others = wrong.copy()
    known = {field.name for field in messages.type}
    for name in (name for name in LEARN_FIELDS if name in known):
        values = _numbers(pc.struct_field(messages, name))
        if values is None:
            wrong |= np.asarray(pc.struct_field(messages, name).is_valid())
            continue
        given = ~np.isnan(values)
        wrong |= given & (values != 0) & (values != 1)
        of_others |= (values == 1) & ~assistant
        learned &= ~given | (values == 1)
    return learned, wrong, of_others


def _numbers(values: pa.Array) -> npt.NDArray[np.float64] | None:
    """Numbers and booleans as floats with NaN for null; None for values of another type."""
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), math.nan)
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    # A weight that is NaN is none that was given.
    numbers = pc.cast(pc.cast(values, pa.int8()) if pa.types.is_boolean(kind) else values, "double")
    return np.asarray(pc.fill_null(numbers, math.nan))


def _is_given(values: pa.Array) -> Flags:
    """Which values carry something: neither null nor an empty text or list."""
    kind = values.type
    given = values.is_valid()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        given = pc.and_(given, pc.greater(pc.fill_null(pc.list_value_length(values), 0), 0))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        given = pc.and_(given, pc.greater(pc.fill_null(pc.binary_length(values), 0), 0))
    elif pa.types.is_struct(kind):
        # A struct of nulls alone is how files write an absent object.
        fields = [_is_given(field) for field in values.flatten()]
        return np.logical_or.reduce(fields) if fields else np.zeros(len(values), dtype=np.bool_)
    return np.asarray(given.to_numpy(zero_copy_only=False), dtype=np.bool_)
