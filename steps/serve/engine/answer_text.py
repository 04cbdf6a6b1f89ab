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
        self._sent = 0
        self.stopped = False
        """Whether a stop text was found, which ends the answer."""

    def push(self, token: int) -> str:
        """Add a token and return the text that can be sent, possibly empty."""
        self._ids.append(token)
        text = self._decode()
        ends = [at for stop in self._stop_texts if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._send(text[: min(ends)])
        # An incomplete character decodes to U+FFFD; the start of a stop text may become a complete
        # one.
        whole = text[:-1] if text.endswith("\ufffd") else text
        return self._send(whole[: len(whole) - self._possible_stop(whole)])

    def finish(self) -> str:
        """The remaining text after the last token."""
        return "" if self.stopped else self._send(self._decode())

    def _decode(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _send(self, text: str) -> str:
        new = text[self._sent :]
        self._sent = max(self._sent, len(text))
        return new

    def _possible_stop(self, text: str) -> int:
        """Length of the longest suffix of the text that is a prefix of a stop text."""
        lengths = (
            length
            for stop in self._stop_texts
            for length in range(min(len(stop) - 1, len(text)), 0, -1)
            if text.endswith(stop[:length])
        )
        return max(lengths, default=0)
