"""Token generation: greedy or sampled, one token at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Parameters of the choice of each token."""

    temperature: float
    """0: always the most likely token."""
    top_p: float
    """Sample from the most likely tokens with this total probability."""
    seed: int | None
    """Equal seeds give equal answers; None: a random seed for each answer."""


def generate(
    model: Any, prompt: Sequence[int], sampling: Sampling, max_new_tokens: int
) -> Iterator[int]:
    """Yield at most `max_new_tokens` token ids; the caller stops at stop tokens."""
    device = model.device
    generator = torch.Generator(device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    ids, cache = torch.tensor([list(prompt)], device=device), None
    for _ in range(max_new_tokens):
        # Not around the yield: the context of a suspended generator would affect other code.
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
    """Set probabilities [vocabulary] to 0 except the largest that add up to `top_p`."""
    ordered, order = shares.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered[before >= top_p] = 0
    return torch.zeros_like(shares).scatter(0, order, ordered)


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
