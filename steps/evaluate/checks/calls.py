"""Calls of tools in an answer's text, in the forms that the chat templates write.

<tool_call>{"name": ..., "arguments": {...}}</tool_call>, once or more, as Qwen and others;
[TOOL_CALLS][{...}, ...], as Mistral; <|tool_call|>[{...}]<|/tool_call|>, as Phi-4-mini; and the
JSON alone, because the last two tags may be special tokens, which an answer's text leaves out.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argotune.steps.contracts.json_schema import Validator, compile_schema, problem_of
from argotune.steps.evaluate.checks.rows import RIGHT, AnsweredRow, Score, wrong
from argotune.steps.evaluate.checks.texts import read_json

_TAGGED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_TAG = "<tool_call>"
_BEGINNINGS = ("[TOOL_CALLS]", "<|tool_call|>", "<|tool_calls|>")
_ENDINGS = ("<|/tool_call|>", "<|/tool_calls|>")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any]


class NoCall(ValueError):
    """The text is no well-formed call, for the reason of the message."""


def score_call(row: AnsweredRow) -> Score | None:
    """Score 1 for well-formed calls of offered tools with valid arguments.

    None for a row that offers no tools, or whose reference is no call.
    """
    if not row.tools or not _is_call(row.reference):
        return None
    try:
        calls = read_calls(row.answer)
    except NoCall as error:
        return wrong(str(error))
    tools = _schemas(json.dumps(row.tools))
    problems = [problem for call in calls if (problem := _problem(call, tools))]
    return wrong("; ".join(problems)) if problems else RIGHT


def read_calls(text: str) -> list[Call]:
    """The calls that a text makes, one or more. Raises NoCall."""
    if _TAG in text:
        bodies = _TAGGED.findall(text)
        if _TAG in _TAGGED.sub("", text):
            raise NoCall("a <tool_call> is not closed")
        return [_call(item) for body in bodies for item in _items(body)]
    return [_call(item) for item in _items(_without_tags(text.strip()))]


def _is_call(text: str) -> bool:
    try:
        return bool(read_calls(text))
    except NoCall:
        return False


def _without_tags(text: str) -> str:
    for tag in _BEGINNINGS:
        text = text.removeprefix(tag)
    for tag in _ENDINGS:
        text = text.removesuffix(tag)
    return text


def _items(text: str) -> list[object]:
    try:
        value = read_json(text)
    except ValueError as error:
        raise NoCall(f"it is no call of a tool: {error}") from error
    items = value if isinstance(value, list) else [value]
    if not items:
        raise NoCall("it calls no tool")
    return items


def _call(item: object) -> Call:
    function = item.get("function", item) if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise NoCall("a call is no object with the name of a function")
    arguments = function.get("arguments", function.get("parameters"))
    if not isinstance(arguments, dict):
        raise NoCall(f"the arguments of {function['name']!r} are no object")
    return Call(name=function["name"], arguments=arguments)


def _problem(call: Call, tools: Mapping[str, Validator | str]) -> str:
    tool = tools.get(call.name)
    if tool is None:
        return f"{call.name!r} is not among the offered tools"
    problem = tool if isinstance(tool, str) else problem_of(tool, call.arguments)
    return f"arguments of {call.name!r}: {problem}" if problem else ""


@functools.lru_cache(maxsize=256)
def _schemas(tools: str) -> Mapping[str, Validator | str]:
    """For each tool its compiled schema, or what is wrong with that; most rows repeat a few."""
    functions: Sequence[Mapping[str, Any]] = [tool["function"] for tool in json.loads(tools)]
    return {each["name"]: _schema(each.get("parameters") or {}) for each in functions}


def _schema(parameters: object) -> Validator | str:
    try:
        return compile_schema(parameters)
    except ValueError as error:
        return f"the tool's own parameters are no JSON schema: {error}"
