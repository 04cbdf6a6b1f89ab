"""Kinds of rows as people have them, and the chat templates that they are rendered with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from argotune.steps.tiny.make import CHAT_TEMPLATE
from tests.steps.tune.models import MARKED_TEMPLATE, make_tokenizer
from tests.steps.tune.traps.published import PUBLISHED, tokenizer_of

TINY_TEMPLATE = CHAT_TEMPLATE.read_text()
NAMES_TEMPLATE = MARKED_TEMPLATE.replace("{{ m['role'] }}", "{{ m['role'] }}|{{ m.name }}")
REASONING_TEMPLATE = MARKED_TEMPLATE.replace(
    "{% generation %}", "{% generation %}<think>{{ m.reasoning_content }}</think>"
)
QWEN_TEMPLATE_FILE = Path(__file__).with_name("qwen2_5_training.jinja")
"""Qwen2.5's template with marks, as TRL 1.16.0 ships it under Apache-2.0."""

SYSTEM = {"role": "system", "content": "Be short."}
QUESTION = {"role": "user", "content": "What is the weather in Zürich?"}
ANSWER = {"role": "assistant", "content": "It is raining.\n\nTake\tan umbrella. ☂"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": PARAMETERS},
}
RESULT = {"role": "tool", "name": "weather", "content": '{"rain": true}'}


def call(*cities: str, content: str | None = None) -> dict[str, Any]:
    """The assistant's message that asks for the weather."""
    calls = [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}
        for city in cities
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def talk(*messages: dict[str, Any], tools: bool = False) -> dict[str, Any]:
    """A row of a data set."""
    return {"messages": list(messages)} | ({"tools": [TOOL]} if tools else {})


_CALLED = (QUESTION, call("Zürich"), RESULT, ANSWER)

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "question and answer": ("tiny", talk(QUESTION, ANSWER)),
    "system": ("tiny", talk(SYSTEM, QUESTION, ANSWER)),
    "two turns": ("tiny", talk(QUESTION, ANSWER, QUESTION, ANSWER)),
    "prompt and completion": ("tiny", {"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]}),
    "tools that are not called": ("tiny", talk(QUESTION, ANSWER, tools=True)),
    "tools beside a system message": ("tiny", talk(SYSTEM, QUESTION, ANSWER, tools=True)),
    "call": ("tiny", talk(QUESTION, call("Zürich"), tools=True)),
    "call beside a text": ("tiny", talk(QUESTION, call("Bern", content="I look."), tools=True)),
    "two calls": ("tiny", talk(QUESTION, call("Zürich", "Bern"), tools=True)),
    "result and answer": ("tiny", talk(*_CALLED, tools=True)),
    "two results": (
        "tiny",
        talk(QUESTION, call("Zürich", "Bern"), RESULT, RESULT, ANSWER, tools=True),
    ),
    "two questions with calls": ("tiny", talk(*_CALLED, *_CALLED, tools=True)),
    "tools as prompt and completion": (
        "tiny",
        {"prompt": [QUESTION], "completion": [call("Zürich")], "tools": [TOOL]},
    ),
    "reasoning": (
        "reasoning",
        talk(QUESTION, {**ANSWER, "reasoning_content": "Clouds, hence rain."}),
    ),
    "names": ("names", talk({**QUESTION, "name": "Ada"}, {**ANSWER, "name": "Bob"})),
    "Qwen2.5's answer": ("qwen", talk(QUESTION, ANSWER)),
    "Qwen2.5's call, result and answer": ("qwen", talk(SYSTEM, *_CALLED, tools=True)),
    "Qwen2.5's two results": (
        "qwen",
        talk(QUESTION, call("Zürich", "Bern"), RESULT, RESULT, ANSWER, tools=True),
    ),
}
"""Name -> template and row."""


def tokenizer_for(template: str) -> Any:
    """A tokenizer with the template of that name."""
    if template == "qwen":
        published = PUBLISHED["qwen2.5-coder-7b-instruct"]
        source = QWEN_TEMPLATE_FILE.read_text()
        return tokenizer_of(dataclasses.replace(published, template=source))
    sources = {"tiny": TINY_TEMPLATE, "reasoning": REASONING_TEMPLATE, "names": NAMES_TEMPLATE}
    return make_tokenizer(sources[template])
