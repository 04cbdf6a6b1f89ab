"""What the fields of a message say beside who writes and what: whether it is learned, or refused.

A field that changes what is learned, or what the model is to answer, is used or the row is refused
by the field's name. Other fields, such as an id, are of no use for training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]

LEARN_FIELDS = ("weight", "train", "training", "loss_mask")
"""1 or true: the message is learned; 0 or false: it is not. The
names are those of OpenAI, axolotl (two) and UI-TARS."""
REFUSED_FIELDS = (
    "tool_calls",
    "function_call",
    "tool_call_id",
    "name",
    "reasoning_content",
    "reasoning",
    "thinking",
    "images",
    "image",
    "audio",
    "videos",
)
"""Fields that carry a part of the conversation which argotune does not render."""
TOOL_ROLES = ("tool", "function", "observation", "function_call", "ipython")
"""Roles of messages that only a rendering with tools can place."""

NO_REASON = ""
MALFORMED = "malformed"
TOOL_ROLE = "role_of_tools"
PART = "content_part_that_is_no_text"
LEARN_VALUE = "weight_other_than_0_or_1"
LEARN_OF_OTHERS = "weight_1_of_another_role"

FIELD_REASONS = tuple(f"has_{name}" for name in REFUSED_FIELDS)
REASONS = (MALFORMED, TOOL_ROLE, PART, LEARN_VALUE, LEARN_OF_OTHERS, *FIELD_REASONS)
"""Why a row is refused for a field of one of its messages."""


class Refused(Exception):
    """A message cannot be used; the reason is one of REASONS."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def check_fields(message: Mapping[str, object]) -> None:
    """Raise Refused if a field carries what is not rendered; empty values carry nothing."""
    for name, reason in zip(REFUSED_FIELDS, FIELD_REASONS, strict=True):
        if message.get(name) not in (None, "", [], {}):
            raise Refused(reason)


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


def arrow_reasons(messages: pa.StructArray) -> Codes:
    """The same as `check_fields` for m messages: 0, or 1 + the index into FIELD_REASONS; (m,)."""
    codes = np.zeros(len(messages), dtype=np.uint8)
    known = {field.name for field in messages.type}
    for code, name in reversed(list(enumerate(REFUSED_FIELDS, start=1))):
        if name in known:
            codes[_is_given(pc.struct_field(messages, name))] = code
    return codes


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
