"""Which parts of a conversation a chat template renders.

A template passes over what it does not know without an error, and the model would learn answers
without what they answer. So each part is rendered once with a mark, which the text has or has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.spans import TemplateMismatch

_MARK, _VALUE_MARK = "mark7c1f", "value7c1f"

_QUESTION = {"role": "user", "content": "Q"}
_ANSWER = {"role": "assistant", "content": "A"}
# Some templates accept no other form of an id than nine letters and digits.
_CALL_ID = "abcde1234"
_PARAMETERS = {"type": "object", "properties": {"x": {"type": "string"}}}

_NAMED_ROLES = ("system", "user", "assistant")
"""Roles whose `name` is a part of the conversation; a tool's repeats that of the call."""


def find_rendered_fields(render: Callable[[Conversation], str]) -> frozenset[str]:
    """The names of `fields_of` that a template renders; `render` may raise TemplateMismatch."""
    return frozenset(
        name
        for name, (row, marks) in _probes().items()
        if all(mark in _text_of(render, row) for mark in marks)
    )


def fields_of(row: Conversation) -> Iterator[str]:
    """What a row has beside system, user and assistant messages of role and content."""
    if row.tools:
        yield "tools"
    for message in row.messages:
        role = message["role"]
        if role == "tool":
            yield "role tool"
        if "name" in message and role in _NAMED_ROLES:
            yield f"name of role {role}"
        yield from (name for name in ("tool_calls", "reasoning_content") if name in message)


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The reasoning of an assistant's message: its own field, or a block within its content."""
    if message["role"] != "assistant":
        return ""
    if reasoning := message.get("reasoning_content"):
        return str(reasoning)
    before, closed, _ = (message["content"] or "").partition("</think>")
    return str(before.rpartition("<think>")[2]) if closed else ""


def _text_of(render: Callable[[Conversation], str], row: Conversation) -> str:
    try:
        return render(row)
    except TemplateMismatch:
        return ""


def _probes() -> dict[str, tuple[Conversation, tuple[str, ...]]]:
    """For each part a conversation that has it, and the marks in it."""
    talk = [_QUESTION, _ANSWER]
    called = [_QUESTION, _call("f", "v"), _result("r"), _ANSWER]
    probes = {
        "tools": (Conversation(messages=talk, tools=[_tool(_MARK)]), (_MARK,)),
        "tool_calls": (
            _with_tools([_QUESTION, _call(_MARK, _VALUE_MARK), *called[2:]]),
            (_MARK, _VALUE_MARK),
        ),
        "role tool": (_with_tools([*called[:2], _result(_MARK), _ANSWER]), (_MARK,)),
        "reasoning_content": (
            Conversation(messages=[_QUESTION, {**_ANSWER, "reasoning_content": _MARK}]),
            (_MARK,),
        ),
    }
    for role in _NAMED_ROLES:
        system = [{"role": "system", "content": "S"}] if role == "system" else []
        messages = [
            {**each, "name": _MARK} if each["role"] == role else each for each in [*system, *talk]
        ]
        probes[f"name of role {role}"] = (Conversation(messages=messages), (_MARK,))
    return probes


def _with_tools(messages: list[dict[str, Any]]) -> Conversation:
    return Conversation(messages=messages, tools=[_tool("f")])


def _tool(name: str) -> Mapping[str, Any]:
    function = {"name": name, "description": "D", "parameters": _PARAMETERS}
    return {"type": "function", "function": function}


def _call(name: str, value: str) -> dict[str, Any]:
    function = {"name": name, "arguments": {"x": value}}
    call = {"id": _CALL_ID, "type": "function", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _result(text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, "name": "f", "tool_call_id": _CALL_ID}
