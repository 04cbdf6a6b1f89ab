"""From a prompt's tokens to an answer's: one token at a time, by the likeliest or by chance."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to choose each token."""

    temperature: float
    """0: the likeliest."""
    top_p: float
    """Choose among the likeliest tokens that together have this share."""
    seed: int | None
    """Same seed, same answer; None for another one each time."""


def generate(
    model: Any, prompt: Sequence[int], sampling: Sampling, max_new_tokens: int
) -> Iterator[int]:
    """The answer's tokens as they are found, at most so many; the caller stops at stop tokens."""
    device = model.device
    generator = torch.Generator(device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    ids, cache = torch.tensor([list(prompt)], device=device), None
    for _ in range(max_new_tokens):
        # Not around the yield: a context that a suspended generator holds open leaks to others.
        with torch.inference_mode():
            output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = _pick(output.logits[0, -1].float(), sampling, generator)
        cache, ids = output.past_key_values, torch.tensor([[token]], device=device)
        yield token


def _pick(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    if sampling.temperature == 0:
        return int(logits.argmax())
    shares = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        shares = _nucleus(shares, sampling.top_p)
    return int(torch.multinomial(shares, 1, generator=generator))


def _nucleus(shares: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the likeliest tokens that reach `top_p`; the likeliest always stays."""
    ordered, order = shares.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered[before >= top_p] = 0
    return torch.zeros_like(shares).scatter(0, order, ordered)


class AnswerText:
    """Tokens to text as they come: whole characters only, and cut at a stop text."""

    def __init__(self, tokenizer: Any, stop_texts: Collection[str]) -> None:
        self._tokenizer = tokenizer
        self._stop_texts = [text for text in stop_texts if text]
        self._ids: list[int] = []
        self._sent = 0
        self.stopped = False
        """Whether a stop text was met; what follows it is not part of the answer."""

    def push(self, token: int) -> str:
        """The text that can be shown after this token, possibly none yet."""
        self._ids.append(token)
        text = self._decode()
        ends = [at for stop in self._stop_texts if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._send(text[: min(ends)])
        # Half of a character decodes to U+FFFD; half of a stop text may become a whole one.
        whole = text[:-1] if text.endswith("\ufffd") else text
        return self._send(whole[: len(whole) - self._possible_stop(whole)])

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return "" if self.stopped else self._send(self._decode())

    def _decode(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _send(self, text: str) -> str:
        new = text[self._sent :]
        self._sent = max(self._sent, len(text))
        return new

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop text."""
        lengths = (
            length
            for stop in self._stop_texts
            for length in range(min(len(stop) - 1, len(text)), 0, -1)
            if text.endswith(stop[:length])
        )
        return max(lengths, default=0)
