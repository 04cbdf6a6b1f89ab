"""How a chat template writes calls of tools, as it is found out by letting it write some.

Each family writes them in its own way. An answer that has to be a call is held to the very text
that training had, without a list of families.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.spans import TemplateMismatch

CALL_ID = "abcde1234"
"""An id that every template accepts: Mistral's refuses any but nine letters and digits."""
_NAME, _VALUE = "name7c1f", "value7c1f"
_QUESTION = {"role": "user", "content": "Q"}
_FUNCTION = {
    "name": _NAME,
    "description": "D",
    "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
}

Render = Callable[[Conversation, bool], str]
"""Renders a conversation, with the opening of an answer at its end if the second argument is true.
Raises TemplateMismatch."""


@dataclass(frozen=True, kw_only=True)
class CallSyntax:
    """The text around names and arguments, in which CALL_ID stands for any id."""

    head: str
    """Before the first call's name."""
    middle: str
    """Between a name and its arguments."""
    between: str | None
    """Between the arguments of a call and the next one's name; None: an answer has one call."""
    tail: str
    """After the last arguments, without the token that ends the turn."""
    item_separator: str
    """Between two members of the arguments' JSON."""
    key_separator: str
    """Between a key of the arguments' JSON and its value."""


def find_call_syntax(render: Render, end_of_turn: str) -> CallSyntax | None:
    """The syntax of a template's calls; None if it writes none, or no name before its arguments."""
    try:
        single = _written(render, 1).partition(end_of_turn)[0]
    except TemplateMismatch:
        return None
    arguments = _Arguments.found_in(single)
    head, named, rest = single.partition(_NAME)
    if arguments is None or not named or arguments.text not in rest:
        return None
    middle, _, tail = rest.partition(arguments.text)
    return CallSyntax(
        head=head,
        middle=middle,
        between=_between(render, head, middle, arguments.text),
        tail=tail,
        item_separator=arguments.item_separator,
        key_separator=arguments.key_separator,
    )


@dataclass(frozen=True)
class _Arguments:
    """The arguments of the probe as the template writes them."""

    text: str
    item_separator: str
    key_separator: str

    @staticmethod
    def found_in(text: str) -> _Arguments | None:
        for item, key in ((", ", ": "), (",", ":")):
            arguments = f'{{"x"{key}"{_VALUE}"{item}"y"{key}1}}'
            if arguments in text:
                return _Arguments(arguments, item, key)
        return None


def _between(render: Render, head: str, middle: str, arguments: str) -> str | None:
    try:
        double = _written(render, 2)
    except TemplateMismatch:
        return None
    first, _, rest = double.partition(arguments)
    between, named, _ = rest.partition(_NAME)
    return between if named and first == f"{head}{_NAME}{middle}" else None


def _written(render: Render, calls: int) -> str:
    """What the template writes for an answer of that many calls. Raises TemplateMismatch."""
    answer = {"role": "assistant", "content": "", "tool_calls": [_call() for _ in range(calls)]}
    tools = [{"type": "function", "function": _FUNCTION}]
    prompt = render(Conversation(messages=[_QUESTION], tools=tools), True)
    text = render(Conversation(messages=[_QUESTION, answer], tools=tools), False)
    if not text.startswith(prompt):
        raise TemplateMismatch("the chat template renders a question differently before a call")
    return text[len(prompt) :]


def _call() -> dict[str, Any]:
    function = {"name": _NAME, "arguments": {"x": _VALUE, "y": 1}}
    return {"id": CALL_ID, "type": "function", "function": function}
