"""Find the spans of the assistant's turns in a rendered conversation.

Templates with {% generation %} markers give the spans. Most published ones have no markers, so the
folder `marked` has copies of the presets' templates with markers. If such a copy renders a row as
the tokenizer's template does, its spans are used. For other rows an assistant turn is the
difference between the rendered text and the prompt that the server would send for the turn.

Templates of models that think, such as Qwen3's, render a turn in two ways: the last answer with a
block of reasoning, which may be empty, and earlier ones without. What the text has after the prompt
is learned in both: the block of the last answer, empty or not, and no reasoning of earlier ones.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers.utils import chat_template_utils

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.chat_sandbox import ChatSandbox, TemplateFailure, bounded_rendering
from argotune.steps.contracts.dataset_rows import Conversation

# The library makes its environment anew for each template, of the class that it finds here.
chat_template_utils.ImmutableSandboxedEnvironment = ChatSandbox  # type: ignore[attr-defined]
# Its annotation says str, but it returns the texts and the spans of the assistant's turns.
_render_jinja: Any = chat_template_utils.render_jinja_template

_GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_OTHER_CONTENT = "\U000f0002"
"""A private-use character, with which no content begins."""
_MARKED_DIR = Path(__file__).with_name("marked")

Span = tuple[int, int]
"""Index of the first character of a part of a text, and of the one after its last."""


class TemplateMismatch(Exception):
    """The template rejects the conversation, or its turns cannot be located in the text."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, with the spans of the assistant's turns."""

    text: str
    spans: list[Span]
    """Span of each assistant turn in `text`, including its end-of-turn token."""


def has_marks(source: str) -> bool:
    """Whether a template marks the assistant's turns with {% generation %}."""
    # Comments say what was added to a template.
    return _GENERATION_TAG.search(_COMMENT.sub("", source)) is not None


@functools.cache
def marked_templates() -> tuple[str, ...]:
    """The presets' templates with markers. Raises PermanentError if the files are missing."""
    paths = sorted(_MARKED_DIR.glob("*.jinja"))
    if not paths:
        raise PermanentError(f"{_MARKED_DIR} has no templates; this installation is incomplete")
    return tuple(path.read_text() for path in paths)


def render_text(
    source: str,
    row: Conversation,
    special_tokens: Mapping[str, str],
    *,
    add_generation_prompt: bool = False,
) -> str:
    """Render the conversation with a template. Raises TemplateMismatch."""
    text, _ = _render(source, row, special_tokens, add_generation_prompt=add_generation_prompt)
    return text


def render_marked(source: str, row: Conversation, special_tokens: Mapping[str, str]) -> Rendered:
    """Render the conversation, with the spans that the template marks. Raises TemplateMismatch."""
    text, spans = _render(source, row, special_tokens, return_assistant_tokens_mask=True)
    return Rendered(text, [(start, end) for start, end in spans])


def spans_of_marked(
    marked: str, row: Conversation, special_tokens: Mapping[str, str], text: str
) -> list[Span] | None:
    """The spans of a template with markers, if it renders `text` up to the last of them, else None.

    Text after the last turn, such as an end-of-text token, belongs to no span.
    """
    try:
        found = render_marked(marked, row, special_tokens)
    except TemplateMismatch:
        return None
    end = max((end for _, end in found.spans), default=0)
    return found.spans if end and text.startswith(found.text[:end]) else None


def spans_by_difference(
    source: str,
    row: Conversation,
    special_tokens: Mapping[str, str],
    text: str,
    end_of_turn: str,
) -> list[Span]:
    """The span that each assistant turn adds to its prompt, up to its end-of-turn token.

    Raises TemplateMismatch if the template renders earlier turns differently when an answer
    follows, or if the end of an answer cannot be told.
    """
    spans = []
    for index, message in enumerate(row.messages):
        if message["role"] != "assistant":
            continue
        before = replace(row, messages=row.messages[:index])
        prompt = render_text(source, before, special_tokens, add_generation_prompt=True)
        until = render_text(
            source, replace(row, messages=row.messages[: index + 1]), special_tokens
        )
        if not text.startswith(prompt):
            raise TemplateMismatch(
                f"the chat template renders the turns before message {index} differently once the "
                "answer follows"
            )
        # Some templates end a conversation with a token that no later turn follows.
        added = text[len(prompt) : _common_prefix(text, until)]
        answer, stop, _ = added.rpartition(end_of_turn)
        if not stop and index + 1 < len(row.messages):
            # The last answer is rendered otherwise than it is before another message.
            added = text[len(prompt) : _start_of(index + 1, source, row, special_tokens, text)]
            answer, stop, _ = added.rpartition(end_of_turn)
            if not stop:
                raise TemplateMismatch(
                    f"the chat template ends the answer of message {index} without {end_of_turn!r} "
                    "once another message follows, so its end cannot be told"
                )
        spans.append((len(prompt), len(prompt) + len(answer + stop if stop else added)))
    return spans


def _start_of(
    index: int, source: str, row: Conversation, special_tokens: Mapping[str, str], text: str
) -> int:
    """Where the content of a message begins in the text: the first place that depends on it."""
    messages = [dict(message) for message in row.messages]
    messages[index]["content"] = _OTHER_CONTENT
    other = render_text(source, replace(row, messages=messages), special_tokens)
    if other == text:
        raise TemplateMismatch(
            f"the chat template leaves out the content of message {index}, so the end of the "
            "answer before it cannot be told"
        )
    return _common_prefix(text, other)


def _render(
    source: str, row: Conversation, special_tokens: Mapping[str, str], **options: Any
) -> tuple[str, list[Span]]:
    try:
        with bounded_rendering():
            texts, spans = _render_jinja(
                [list(row.messages)],
                tools=row.tools,
                chat_template=source,
                **options,
                **special_tokens,
            )
    except TemplateFailure as error:
        raise TemplateMismatch(f"the chat template rejects it: {error}") from error
    return texts[0], spans[0] if spans else []


def _common_prefix(first: str, second: str) -> int:
    """Number of characters of the common prefix."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
