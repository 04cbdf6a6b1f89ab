"""Control tokens of the model in the texts of a conversation, which are encoded as plain text.

Otherwise `<|end|>` in a question would end the user's turn, and in an answer teach the model to
stop there. From 5.23 on transformers' apply_chat_template does the same, with
sanitize_control_tokens=True, but without the places of the answers, and vLLM's image has an earlier
version. A test holds the tokens to those of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.spans import Rendered

_START, _END = "\U000f0000", "\U000f0001"
"""Private-use characters around each control token of a text. A lone one, for a template can part
the two, is no text, and divides the tokens before it from those after it."""
_MARKS = re.compile(f"[{_START}{_END}]")


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
        control = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._pattern = re.compile(control)
        self._marked = re.compile(f"{_START}({control}){_END}|{_MARKS.pattern}")

    def are_in(self, row: Conversation) -> bool:
        """Whether a text of the conversation has a control token."""
        if any(self._pattern.search(message["content"]) for message in row.messages):
            return True
        others = [row.tools, *(m for m in row.messages if len(m) > len(("role", "content")))]
        return any(map(self._is_in, others))

    def mark(self, row: Conversation) -> Conversation:
        """The conversation with a mark around each control token of its texts."""
        return Conversation(
            messages=self._mark(list(row.messages)),
            learned=row.learned,
            tools=self._mark(row.tools),
        )

    def encode(self, rendered: Rendered) -> MarkedEncoding:
        """Encode a rendered conversation, in which marked control tokens are plain text."""
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

    def _mark(self, value: Any) -> Any:
        """A value of a conversation, at any depth; marks that it has already are no forged ones."""
        match value:
            case str():
                return self._pattern.sub(f"{_START}\\g<0>{_END}", _MARKS.sub("", value))
            case dict():
                return {name: self._mark(item) for name, item in value.items()}
            case list() | tuple():
                return [self._mark(item) for item in value]
            case _:
                return value

    def _encode(self, pieces: Sequence[str]) -> list[int]:
        """Tokens of the pieces, none of which reaches into two."""
        # Text, control token or None for a lone mark, text, ...
        parts = self._marked.split(_START.join(pieces))
        ids = self._as_tokens(parts[0])
        for number, part in enumerate(parts[1:], start=1):
            if part:
                ids += self._behind(part, self._as_text if number % 2 else self._as_tokens)
        return ids

    def _behind(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """Encode what begins no text, as SentencePiece puts a space before one that does."""
        newline, ids = self._as_tokens("\n"), encode(f"\n{text}")
        return ids[len(newline) :] if ids[: len(newline)] == newline else encode(text)

    def _as_tokens(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _as_text(self, text: str) -> list[int]:
        """Encode by the backend's parts, which know no control tokens."""
        backend = self._tokenizer.backend_tokenizer
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = [text]
        if backend.pre_tokenizer is not None:
            words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        return [token.id for word in words for token in backend.model.tokenize(word)]

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
