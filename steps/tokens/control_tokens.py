"""Control tokens of the model in the texts of a conversation, which are encoded as plain text.

Otherwise `<|end|>` in a question would end the user's turn, and in an answer teach the model to
stop there. transformers' apply_chat_template does the same with sanitize_control_tokens=True, but
without the places of the answers; this takes its functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.utils import chat_template_utils

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.spans import Rendered

_utils: Any = chat_template_utils
_BREAK: str = _utils._CONTROL_TOKEN_START
"""A lone mark, which is no text and divides the tokens before it from those after it."""
_MARKS = re.compile(f"[{_utils._CONTROL_TOKEN_START}{_utils._CONTROL_TOKEN_END}]")


@dataclass(frozen=True, kw_only=True)
class MarkedEncoding:
    """A conversation with marked control tokens as tokens."""

    ids: list[int]
    places: list[tuple[int, int]]
    """For each span its first token, and the one after its last."""


class ControlTokens:
    """The special tokens of a tokenizer as text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        special = [
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        ]
        longest_first = sorted(special, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def are_in(self, row: Conversation) -> bool:
        """Whether a text of the conversation has a control token."""
        if any(self._pattern.search(message["content"]) for message in row.messages):
            return True
        others = [row.tools, *(m for m in row.messages if len(m) > len(("role", "content")))]
        return any(map(self._is_in, others))

    def mark(self, row: Conversation) -> Conversation:
        """The conversation with a mark around each control token of its texts."""
        mark = _utils.mark_control_tokens
        return Conversation(
            messages=mark(list(row.messages), self._pattern),
            learned=row.learned,
            tools=mark(row.tools, self._pattern),
        )

    def encode(self, rendered: Rendered) -> MarkedEncoding:
        """Encode a rendered conversation, in which marked control tokens are plain text.

        It leaves the tokenizer's backend with control tokens as tokens.
        """
        ends = sorted({place for span in rendered.spans for place in span})
        text = rendered.text
        pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
        # A token before a mark does not depend on the text after it.
        counts = {
            place: len(self._encode(pieces[: number + 1])) for number, place in enumerate(ends)
        }
        return MarkedEncoding(
            ids=self._encode(pieces),
            places=[(counts[start], counts[end]) for start, end in rendered.spans],
        )

    def _encode(self, pieces: Sequence[str]) -> list[int]:
        ids: list[int] = _utils.encode_marked_chat(self._tokenizer, _BREAK.join(pieces))
        self._tokenizer.backend_tokenizer.encode_special_tokens = False
        return ids

    def _is_in(self, value: object) -> bool:
        if isinstance(value, str):
            return self._pattern.search(value) is not None
        if isinstance(value, dict):
            return any(map(self._is_in, value.values()))
        return isinstance(value, list) and any(map(self._is_in, value))


def without_marks(rendered: Rendered) -> Rendered:
    """The text as it was before `mark`, with the same spans."""
    places = {place for span in rendered.spans for place in span}
    moved = {place: place - len(_MARKS.findall(rendered.text[:place])) for place in places}
    spans = [(moved[start], moved[end]) for start, end in rendered.spans]
    return Rendered(_MARKS.sub("", rendered.text), spans)
