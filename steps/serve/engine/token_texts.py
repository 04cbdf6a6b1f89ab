"""Tokens by their texts, as a question about log probabilities is answered."""

from __future__ import annotations

import functools
import re
from typing import Any

from argotune.steps.serve.engine.interface import TokenLogprob

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""A token of SentencePiece for a byte."""
_SPACE = "\u2581"
"""SentencePiece's mark for a space."""


class TokenTexts:
    """Makes TokenLogprobs with a tokenizer's texts."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def named(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        """The token with its text and bytes."""
        text, data = self._text(token)
        return TokenLogprob(token, text, data, logprob, top)

    def _text(self, token: int) -> tuple[str, bytes]:
        # A model may have more tokens than its tokenizer.
        stored = self._tokenizer.convert_ids_to_tokens(token) or ""
        if _SPACE in stored:
            text = stored.replace(_SPACE, " ")
            return text, text.encode()
        text = str(self._tokenizer.decode([token]))
        if "\ufffd" not in text:
            return text, text.encode()
        if byte := _BYTE.fullmatch(stored):
            return text, bytes.fromhex(byte[1])
        letters = _byte_letters()
        if all(letter in letters for letter in stored):
            return text, bytes(letters[letter] for letter in stored)
        return text, text.encode()


@functools.cache
def _byte_letters() -> dict[str, int]:
    """The byte for each letter in which byte-level BPE stores its tokens, as GPT-2 does.

    Printable bytes of Latin-1 stand for themselves, and the others for the letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}
