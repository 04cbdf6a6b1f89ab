"""The chat template: which text a conversation becomes, and which part of it the assistant wrote.

Templates with {% generation %} markers say it themselves. For the others each assistant turn is
what the rendering gains over the prompt that the server will send for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from steps.common.errors import PermanentError
from steps.common.serving import Message, merge_system_turn

# Its annotation says str; it returns the texts and the places of the assistant's turns.
_render_jinja: Any = render_jinja_template

_GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")
_SYSTEM_MARK, _USER_MARK, _ANSWER_MARK = "system-7c1f", "user-7c1f", "answer-7c1f"


class TemplateMismatch(Exception):
    """A conversation that the template refuses or renders so that no turn can be told apart."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the assistant's parts of it."""

    text: str
    spans: list[tuple[int, int]]
    """Start and end of each assistant turn in `text`, its end-of-turn token included."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A tokenizer's chat template, with what has to be known to train and serve with it alike."""

    source: str
    """Jinja."""
    merge_system: bool
    """The template drops a system turn, so its text goes before the first user's."""
    stop_token_ids: list[int]
    """Tokens that end an answer, the template's own end-of-turn token first."""
    special_tokens: dict[str, str]
    """bos_token, eos_token and so on, which templates refer to by name."""

    def render(self, messages: Sequence[Message]) -> Rendered:
        """Render a whole conversation. Raises TemplateMismatch."""
        turns = merge_system_turn(messages) if self.merge_system else list(messages)
        if _GENERATION_TAG.search(self.source):
            return _render_marked(self.source, turns, self.special_tokens)
        return _render_by_difference(self.source, turns, self.special_tokens)


def chat_template(tokenizer: Any, model_dir: Path, without: str | None = None) -> ChatTemplate:
    """The tokenizer's template, or `without` one the preset's, and how it ends a turn.

    Raises PermanentError where there is no template, or where no special token ends a turn: a
    model tuned with such a one would never stop.
    """
    source = tokenizer.chat_template or without
    if not isinstance(source, str):
        raise PermanentError(
            f"the tokenizer in {model_dir} has no chat template; tune an instruction model, or put "
            "a chat_template.jinja into the model directory"
        )
    special_tokens = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
    end_of_turn = _end_of_turn(source, special_tokens, tokenizer)
    if end_of_turn is None:
        raise PermanentError(
            f"the chat template in {model_dir} ends an assistant turn without a special token; "
            "the tuned model would never stop"
        )
    others = _generation_stops(model_dir) | {tokenizer.eos_token_id} - {None}
    return ChatTemplate(
        source=source,
        merge_system=_drops_system(source, special_tokens),
        stop_token_ids=[end_of_turn, *sorted(others - {end_of_turn})],
        special_tokens=special_tokens,
    )


def _render(
    source: str, turns: Sequence[Message], special_tokens: dict[str, str], **options: Any
) -> tuple[str, Any]:
    try:
        texts, spans = _render_jinja(
            [list(turns)], chat_template=source, **options, **special_tokens
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise TemplateMismatch(f"the chat template refuses it: {error}") from error
    return texts[0], spans[0] if spans else []


def _render_marked(
    source: str, turns: Sequence[Message], special_tokens: dict[str, str]
) -> Rendered:
    text, spans = _render(source, turns, special_tokens, return_assistant_tokens_mask=True)
    return Rendered(text, [(start, end) for start, end in spans])


def _render_by_difference(
    source: str, turns: Sequence[Message], special_tokens: dict[str, str]
) -> Rendered:
    text, _ = _render(source, turns, special_tokens)
    spans = []
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt, _ = _render(source, turns[:index], special_tokens, add_generation_prompt=True)
        until, _ = _render(source, turns[: index + 1], special_tokens)
        if not text.startswith(prompt):
            raise TemplateMismatch(
                f"the chat template renders the turns before message {index} differently once the "
                "answer follows"
            )
        # Some templates close a whole conversation with a token that later turns do not follow.
        spans.append((len(prompt), _common_prefix(text, until)))
    return Rendered(text, spans)


def _common_prefix(first: str, second: str) -> int:
    """Characters that both texts begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _drops_system(source: str, special_tokens: dict[str, str]) -> bool:
    turns = [
        {"role": "system", "content": _SYSTEM_MARK},
        {"role": "user", "content": _USER_MARK},
        {"role": "assistant", "content": _ANSWER_MARK},
    ]
    try:
        text, _ = _render(source, turns, special_tokens)
    except TemplateMismatch:
        return True
    return _SYSTEM_MARK not in text


def _end_of_turn(source: str, special_tokens: dict[str, str], tokenizer: Any) -> int | None:
    """The special token that comes next after an answer's last word."""
    turns = [
        {"role": "user", "content": _USER_MARK},
        {"role": "assistant", "content": _ANSWER_MARK},
    ]
    text, _ = _render(source, turns, special_tokens)
    tail = text[text.index(_ANSWER_MARK) + len(_ANSWER_MARK) :]
    ids = tokenizer(tail.lstrip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def _generation_stops(model_dir: Path) -> set[int]:
    """The end-of-sequence tokens that the model's own generation settings name."""
    path = model_dir / "generation_config.json"
    if not path.exists():
        return set()
    stops = json.loads(path.read_text()).get("eos_token_id")
    if stops is None:
        return set()
    return set(stops) if isinstance(stops, list) else {stops}
