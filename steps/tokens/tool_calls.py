"""Calls of tools in an answer's text, in the forms that the chat templates write.

<tool_call>{"name": ..., "arguments": {...}}</tool_call>, once or more, as Qwen and others;
[TOOL_CALLS][{...}, ...], as Mistral; <|tool_call|>[{...}]<|/tool_call|>, as Phi-4-mini; and the
JSON alone, because the last two tags may be special tokens, which an answer's text leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argotune.steps.contracts.json_schema import read_json

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_TAGGED = re.compile(f"{_OPEN}(.*?){_CLOSE}", re.DOTALL)
_BEGINNINGS = ("[TOOL_CALLS]", "<|tool_call|>", "<|tool_calls|>")
_ENDINGS = ("<|/tool_call|>", "<|/tool_calls|>")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any]


class NoCall(ValueError):
    """The text is no well-formed call, for the reason of the message."""


def read_calls(text: str) -> list[Call]:
    """The calls that a text makes, one or more. Raises NoCall."""
    if _OPEN in text:
        bodies = _TAGGED.findall(text)
        if _OPEN in _TAGGED.sub("", text):
            raise NoCall("a <tool_call> is not closed")
        return [_call(item) for body in bodies for item in _items(body)]
    return [_call(item) for item in _items(_without_tags(text.strip()))]


class CallReader:
    """Divides an answer that comes in pieces into text and calls.

    A tagged call is given when its tag closes. An answer that begins like a call without tags, of
    which only its end says whether it is one, is held back until then.
    """

    def __init__(self, offered: Collection[str]) -> None:
        self._offered = offered
        self._held = ""
        self._is_begun = False
        """Whether anything but white space was given."""

    def push(self, text: str) -> Iterator[str | Call]:
        """Take a piece, and yield what it completes."""
        self._held += text
        if not self._is_begun and _may_be_untagged(self._held.lstrip()):
            return
        while (start := self._held.find(_OPEN)) >= 0:
            yield from self._give(self._held[:start].rstrip())
            self._held = self._held[start:]
            end = self._held.find(_CLOSE)
            if end < 0:
                return
            tagged, self._held = self._held[: end + len(_CLOSE)], self._held[end + len(_CLOSE) :]
            yield from self._calls_or_text(tagged)
        # A call may follow, and the space before it is no part of the text.
        kept = len(self._held[: len(self._held) - _length_of_tag_begun(self._held)].rstrip())
        yield from self._give(self._held[:kept])
        self._held = self._held[kept:]

    def finish(self) -> Iterator[str | Call]:
        """Yield the rest at the answer's end."""
        rest, self._held = self._held, ""
        if not self._is_begun and _OPEN not in rest and _may_be_untagged(rest.lstrip()):
            yield from self._calls_or_text(rest, only_offered=True)
        elif rest.strip() or not self._is_begun:
            yield from self._give(rest)

    def _calls_or_text(self, text: str, *, only_offered: bool = False) -> Iterator[str | Call]:
        try:
            calls = read_calls(text)
        except NoCall:
            calls = []
        # JSON with a name may be an answer of its own; a tag says that it is meant as a call.
        if not calls or (only_offered and not all(call.name in self._offered for call in calls)):
            yield from self._give(text)
            return
        self._is_begun = True
        yield from calls

    def _give(self, text: str) -> Iterator[str]:
        if text:
            self._is_begun = True
            yield text


def _may_be_untagged(text: str) -> bool:
    """Whether the beginning of an answer is that of a call without tags, or of white space."""
    return text.startswith(("{", "[", *_BEGINNINGS)) or any(
        tag.startswith(text) for tag in _BEGINNINGS
    )


def _length_of_tag_begun(text: str) -> int:
    """Length of the longest end of the text that is a beginning of the opening tag."""
    lengths = range(min(len(_OPEN) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(_OPEN[:length])), 0)


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
