"""The text of an answer, token by token."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class AnswerText:
    """Incremental decoding: complete characters only, and truncated at a stop text."""

    def __init__(self, tokenizer: Any, stop_texts: Collection[str]) -> None:
        self._tokenizer = tokenizer
        self._stop_texts = [text for text in stop_texts if text]
        self._ids: list[int] = []
        # Decoded are the tokens from `_context` on, those before `_decoded` for the others' sake:
        # a tokenizer may write a token otherwise at the beginning than after another.
        self._context = self._decoded = 0
        self._text = ""
        self._sent = 0
        self.stopped = False
        """Whether a stop text was found, which ends the answer."""

    def push(self, token: int) -> str:
        """Add a token and return the text that can be sent, possibly empty."""
        self._ids.append(token)
        new = self._new_text()
        # An incomplete character decodes to U+FFFD.
        if new.endswith("\ufffd"):
            return ""
        self._context, self._decoded = self._decoded, len(self._ids)
        return self._add(new)

    def finish(self) -> str:
        """The remaining text after the last token."""
        if self.stopped:
            return ""
        last = self._add(self._new_text())
        return last if self.stopped else last + self._send(len(self._text))

    def _new_text(self) -> str:
        known = self._decode(self._ids[self._context : self._decoded])
        return self._decode(self._ids[self._context :])[len(known) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _add(self, new: str) -> str:
        """The text that can be sent once `new` is known."""
        before = len(self._text)
        self._text += new
        ends = [
            at
            for stop in self._stop_texts
            if (at := self._text.find(stop, max(0, before - len(stop) + 1))) >= 0
        ]
        if ends:
            self.stopped = True
            return self._send(min(ends))
        # Its end may become a stop text.
        return self._send(len(self._text) - self._possible_stop())

    def _send(self, end: int) -> str:
        new = self._text[self._sent : end]
        self._sent = max(self._sent, end)
        return new

    def _possible_stop(self) -> int:
        """Length of the longest suffix of the text that is a prefix of a stop text."""
        lengths = (
            length
            for stop in self._stop_texts
            for length in range(min(len(stop) - 1, len(self._text)), 0, -1)
            if self._text.endswith(stop[:length])
        )
        return max(lengths, default=0)
