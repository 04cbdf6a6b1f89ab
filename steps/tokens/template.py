"""The chat template, which renders conversations equally in training and serving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import Message
from argotune.steps.tokens.spans import (
    Rendered,
    TemplateMismatch,
    has_marks,
    marked_templates,
    render_marked,
    render_text,
    spans_by_difference,
    spans_of_marked,
)

_SYSTEM_MARK, _USER_MARK, _ANSWER_MARK = "system-7c1f", "user-7c1f", "answer-7c1f"

_QUESTION = {"role": "user", "content": _USER_MARK}
_ANSWER = {"role": "assistant", "content": _ANSWER_MARK}

_MERGE_SYSTEM = (
    "{%- if messages | length > 1 and messages[0]['role'] == 'system' %}"
    "{%- set messages = [{'role': messages[1]['role'], "
    "'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}"
    "{%- endif %}"
)
"""Prefix for a template that drops system turns, with which training and every server merge them
into the first user turn."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A tokenizer's chat template and its tokens."""

    source: str
    """Jinja template: the tokenizer's, with a prefix if that one drops system turns."""
    marked: str | None
    """A template that renders the same text and marks the assistant's turns, if there is one."""
    end_of_turn: str
    """The special token that ends an assistant turn."""
    stop_token_ids: list[int]
    """Tokens that end an answer, the template's own end-of-turn token first."""
    special_tokens: dict[str, str]
    """bos_token, eos_token and others, to which templates refer by name."""

    def render(self, messages: Sequence[Message]) -> Rendered:
        """Render a complete conversation. Raises TemplateMismatch."""
        if self.marked == self.source:
            return render_marked(self.source, messages, self.special_tokens)
        text = render_text(self.source, messages, self.special_tokens)
        spans = None
        if self.marked is not None:
            spans = spans_of_marked(self.marked, messages, self.special_tokens, text)
        if spans is None:
            spans = spans_by_difference(
                self.source, messages, self.special_tokens, text, self.end_of_turn
            )
        return Rendered(text, spans)


def chat_template(tokenizer: Any, model_dir: Path, without: str | None = None) -> ChatTemplate:
    """The tokenizer's template with its end-of-turn token; `without` is used if it has none.

    Raises PermanentError if there is no template, or if no special token ends a turn, because the
    tuned model would never stop.
    """
    own = tokenizer.chat_template or without
    if not isinstance(own, str):
        raise PermanentError(
            f"the tokenizer in {model_dir} has no chat template; use an instruction model, or put "
            "a chat_template.jinja into the model directory"
        )
    special_tokens = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
    try:
        end_of_turn = _end_of_turn(own, special_tokens, tokenizer)
    except TemplateMismatch as error:
        raise PermanentError(
            f"{model_dir}: the chat template fails for a question with an answer: {error}"
        ) from error
    if end_of_turn is None:
        raise PermanentError(
            f"the chat template in {model_dir} ends an assistant turn without a special token; "
            "the tuned model would never stop"
        )
    others = _generation_stops(model_dir) | {tokenizer.eos_token_id} - {None}
    merge = _MERGE_SYSTEM if _drops_system(own, special_tokens) else ""
    marked = _template_with_marks(own, special_tokens)
    return ChatTemplate(
        source=merge + own,
        marked=None if marked is None else merge + marked,
        end_of_turn=tokenizer.convert_ids_to_tokens(end_of_turn),
        stop_token_ids=[end_of_turn, *sorted(others - {end_of_turn})],
        special_tokens=special_tokens,
    )


def _template_with_marks(own: str, special_tokens: Mapping[str, str]) -> str | None:
    """The template if it marks the assistant's turns, else a preset's that renders the same."""
    if has_marks(own):
        return own
    turns = [_QUESTION, _ANSWER]
    text = render_text(own, turns, special_tokens)
    alike = (
        marked
        for marked in marked_templates()
        if spans_of_marked(marked, turns, special_tokens, text) is not None
    )
    return next(alike, None)


def _drops_system(source: str, special_tokens: Mapping[str, str]) -> bool:
    turns = [{"role": "system", "content": _SYSTEM_MARK}, _QUESTION, _ANSWER]
    try:
        text = render_text(source, turns, special_tokens)
    except TemplateMismatch:
        return True
    return _SYSTEM_MARK not in text


def _end_of_turn(source: str, special_tokens: Mapping[str, str], tokenizer: Any) -> int | None:
    """Id of the special token that follows an answer's text."""
    text = render_text(source, [_QUESTION, _ANSWER], special_tokens)
    _, _, tail = text.partition(_ANSWER_MARK)
    ids = tokenizer(tail.lstrip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def _generation_stops(model_dir: Path) -> set[int]:
    """The end-of-sequence tokens of the model's generation_config.json."""
    path = model_dir / "generation_config.json"
    if not path.exists():
        return set()
    try:
        stops = json.loads(path.read_text()).get("eos_token_id")
    except (ValueError, AttributeError, RecursionError) as error:
        raise PermanentError(f"{path}: not a JSON object; download the model again") from error
    if stops is None:
        return set()
    return set(stops) if isinstance(stops, list) else {stops}
