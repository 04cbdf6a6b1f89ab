"""Which parts of a rendered conversation the assistant wrote.

Templates with {% generation %} markers say it themselves. Most published ones have none: `marked`
holds those of the presets once more, with markers, and a row that comes out as the tokenizer's own
template renders it takes its parts from there, by one rendering more. For every other row an
assistant turn is what the rendering gains over the prompt that the server will send for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import Message

# Its annotation says str; it returns the texts and the places of the assistant's turns.
_render_jinja: Any = render_jinja_template

_GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")
_MARKED_DIR = Path(__file__).with_name("marked")

Span = tuple[int, int]
"""First character of a part of a text, and the one after its last."""


class TemplateMismatch(Exception):
    """A conversation that the template refuses or renders so that no turn can be told apart."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the assistant's parts of it."""

    text: str
    spans: list[Span]
    """Each assistant turn in `text`, its end-of-turn token included."""


def has_marks(source: str) -> bool:
    """Whether a template says itself what the assistant wrote."""
    return _GENERATION_TAG.search(source) is not None


@functools.cache
def marked_templates() -> tuple[str, ...]:
    """The presets' templates with markers. Raises PermanentError if the files are missing."""
    paths = sorted(_MARKED_DIR.glob("*.jinja"))
    if not paths:
        raise PermanentError(f"{_MARKED_DIR} has no templates; this installation is not whole")
    return tuple(path.read_text() for path in paths)


def render_text(
    source: str,
    turns: Sequence[Message],
    special_tokens: Mapping[str, str],
    *,
    add_generation_prompt: bool = False,
) -> str:
    """The conversation as a template writes it. Raises TemplateMismatch."""
    text, _ = _render(source, turns, special_tokens, add_generation_prompt=add_generation_prompt)
    return text


def render_marked(
    source: str, turns: Sequence[Message], special_tokens: Mapping[str, str]
) -> Rendered:
    """The same with the parts that a template marks. Raises TemplateMismatch."""
    text, spans = _render(source, turns, special_tokens, return_assistant_tokens_mask=True)
    return Rendered(text, [(start, end) for start, end in spans])


def spans_of_marked(
    marked: str, turns: Sequence[Message], special_tokens: Mapping[str, str], text: str
) -> list[Span] | None:
    """The parts that a template with markers names, if it writes `text` up to the last of them.

    What comes after the last turn, such as an end-of-text token, is nobody's.
    """
    try:
        found = render_marked(marked, turns, special_tokens)
    except TemplateMismatch:
        return None
    end = max((end for _, end in found.spans), default=0)
    return found.spans if end and text.startswith(found.text[:end]) else None


def spans_by_difference(
    source: str,
    turns: Sequence[Message],
    special_tokens: Mapping[str, str],
    text: str,
    end_of_turn: str,
) -> list[Span]:
    """What each assistant turn adds to the prompt before it, up to its end-of-turn token.

    Raises TemplateMismatch where the template writes earlier turns differently once an answer
    follows.
    """
    spans = []
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt = render_text(source, turns[:index], special_tokens, add_generation_prompt=True)
        until = render_text(source, turns[: index + 1], special_tokens)
        if not text.startswith(prompt):
            raise TemplateMismatch(
                f"the chat template renders the turns before message {index} differently once the "
                "answer follows"
            )
        # Some templates close a whole conversation with a token that later turns do not follow.
        added = text[len(prompt) : _common_prefix(text, until)]
        answer, stop, _ = added.rpartition(end_of_turn)
        spans.append((len(prompt), len(prompt) + len(answer + stop if stop else added)))
    return spans


def _render(
    source: str, turns: Sequence[Message], special_tokens: Mapping[str, str], **options: Any
) -> tuple[str, list[Span]]:
    try:
        texts, spans = _render_jinja(
            [list(turns)], chat_template=source, **options, **special_tokens
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise TemplateMismatch(f"the chat template refuses it: {error}") from error
    return texts[0], spans[0] if spans else []


def _common_prefix(first: str, second: str) -> int:
    """Characters that both texts begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
