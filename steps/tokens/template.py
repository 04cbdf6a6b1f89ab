"""The chat template, which renders conversations equally in training and serving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.dataset_rows import Conversation
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
from argotune.steps.tokens.template_fields import (
    fields_of,
    find_rendered_fields,
    reasoning_of,
)

_SYSTEM_MARK, _USER_MARK, _ANSWER_MARK = "system-7c1f", "user-7c1f", "answer-7c1f"

_SYSTEM = {"role": "system", "content": _SYSTEM_MARK}
_TALK = Conversation(
    messages=[
        {"role": "user", "content": _USER_MARK},
        {"role": "assistant", "content": _ANSWER_MARK},
    ]
)

_MERGE_SYSTEM = (
    "{%- if messages | length > 1 and messages[0]['role'] == 'system' %}"
    "{%- set messages = [{'role': messages[1]['role'], "
    "'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}"
    "{%- endif %}"
)
"""Prefix for a template that drops system turns, with which training and every server merge them
into the first user turn."""

_DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""The day that a template asking for today's gets: the one that Llama's have by themselves, where a
server gives them none."""
_DIRECTIVES = (*"aAbBcdDeFhHIjmMpRSTuUVwWxXyYzZ", "-d", "-m", "%")
_FIXED_DATE = (
    "{%- macro strftime_now(pattern) -%}{{ pattern"
    + "".join(f" | replace('%{each}', '{_DATE.strftime(f'%{each}')}')" for each in _DIRECTIVES)
    + " }}{%- endmacro %}\n"
)
"""Prefix for a template that writes today's date (Llama 3.2, SmolLM3, Granite), with which every
server renders what was trained, on every day."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A tokenizer's chat template and its tokens."""

    source: str
    """Jinja template: the tokenizer's, with a prefix if that one drops system turns, and one if it
    writes today's date."""
    marked: str | None
    """A template that renders the same text and marks the assistant's turns, if there is one."""
    end_of_turn: str
    """The special token that ends an assistant turn."""
    stop_token_ids: list[int]
    """Tokens that end an answer, the template's own end-of-turn token first."""
    special_tokens: dict[str, str]
    """bos_token, eos_token and others, to which templates refer by name."""
    rendered_fields: frozenset[str]
    """Which of template_fields.fields_of the template renders."""
    turn_change: str
    """What the template writes between a question and its answer, without white space around;
    empty if it has no special token, because then a text may have it by chance."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Rendered:
        """Render a complete conversation. Raises TemplateMismatch."""
        row = Conversation(messages=messages, tools=tools)
        if self.marked == self.source:
            return render_marked(self.source, row, self.special_tokens)
        text = render_text(self.source, row, self.special_tokens)
        spans = None
        if self.marked is not None:
            spans = spans_of_marked(self.marked, row, self.special_tokens, text)
        if spans is None:
            spans = spans_by_difference(
                self.source, row, self.special_tokens, text, self.end_of_turn
            )
        return Rendered(text, spans)

    def leaves_out_reasoning(self, row: Conversation, text: str) -> bool:
        """Whether `text`, the rendered row, lacks the reasoning of an answer that it has.

        Templates of models that think render that of the last answer alone.
        """
        return any(
            reasoning.strip() not in text
            for message in row.messages
            if (reasoning := reasoning_of(message))
        )

    def check(self, row: Conversation) -> None:
        """Raise TemplateMismatch for what the template leaves out, and for rendered messages."""
        unknown = next((name for name in fields_of(row) if name not in self.rendered_fields), None)
        if unknown is not None:
            raise TemplateMismatch(f"the model's chat template does not render {unknown}")
        if self.turn_change and any(self.turn_change in each["content"] for each in row.messages):
            raise TemplateMismatch(
                f"a message carries the chat template already ({self.turn_change!r}); give its "
                "turns as messages"
            )


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
    if "strftime_now" in own:
        own = _FIXED_DATE + own
    special_tokens = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
    try:
        text = render_text(own, _TALK, special_tokens)
    except TemplateMismatch as error:
        raise PermanentError(
            f"{model_dir}: the chat template fails for a question with an answer: {error}"
        ) from error
    between, _, tail = text.partition(_USER_MARK)[2].partition(_ANSWER_MARK)
    end_of_turn = _first_special(tail.lstrip(), tokenizer)
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
        rendered_fields=find_rendered_fields(lambda row: render_text(own, row, special_tokens)),
        turn_change=between.strip() if _has_special(between, tokenizer) else "",
    )


def _template_with_marks(own: str, special_tokens: Mapping[str, str]) -> str | None:
    """The template if it marks the assistant's turns, else a preset's that renders the same."""
    if has_marks(own):
        return own
    text = render_text(own, _TALK, special_tokens)
    alike = (
        marked
        for marked in marked_templates()
        if spans_of_marked(marked, _TALK, special_tokens, text) is not None
    )
    return next(alike, None)


def _drops_system(source: str, special_tokens: Mapping[str, str]) -> bool:
    row = Conversation(messages=[_SYSTEM, *_TALK.messages])
    try:
        text = render_text(source, row, special_tokens)
    except TemplateMismatch:
        return True
    return _SYSTEM_MARK not in text


def _first_special(text: str, tokenizer: Any) -> int | None:
    """Id of the special token that the text begins with, None for another beginning."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def _has_special(text: str, tokenizer: Any) -> bool:
    return any(
        token.special and token.content in text for token in tokenizer.added_tokens_decoder.values()
    )


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
