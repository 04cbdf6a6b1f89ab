"""The rows that the dataset step writes as parquet and that tune reads, one conversation each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

ROLES = ("system", "user", "assistant", "tool")

FIELDS = ("tool_calls", "tool_call_id", "name", "reasoning_content")
"""Fields of a message beside role and content that a chat template is given, text or null each.
tool_calls is a JSON list, because the arguments of a call have no schema of their own."""
_CALLS = "tool_calls"

SCHEMA = pa.schema(
    [
        pa.field(
            "messages",
            pa.list_(
                pa.struct(
                    [
                        pa.field("role", pa.string()),
                        pa.field("content", pa.string()),
                        # Whether the message's tokens are labels.
                        pa.field("learned", pa.bool_()),
                        *(pa.field(name, pa.string()) for name in FIELDS),
                    ]
                )
            ),
        ),
        # The functions that the model may call, a JSON list; null without any.
        pa.field("tools", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One row, as a chat template takes it."""

    messages: Sequence[Mapping[str, Any]]
    """role, content, and those of FIELDS that the message has; tool_calls as objects."""
    learned: Sequence[bool] = field(default=())
    """For each message whether its tokens are labels; empty: those of the assistant are."""
    tools: Sequence[Mapping[str, Any]] | None = None
    """Functions that the model may call, in OpenAI's form; None without any."""


def read_batch(batch: pa.RecordBatch) -> list[Conversation]:
    """The rows of a batch of SCHEMA. Raises KeyError for a batch of another schema."""
    rows = batch.column("messages").to_pylist()
    tools = batch.column("tools").to_pylist()
    return [
        Conversation(
            messages=[_message(each) for each in row],
            learned=[each["learned"] for each in row],
            tools=json.loads(text) if text else None,
        )
        for row, text in zip(rows, tools, strict=True)
    ]


def _message(stored: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": stored["role"], "content": stored["content"]}
    for name in FIELDS:
        if (value := stored[name]) is not None:
            message[name] = json.loads(value) if name == _CALLS else value
    return message
