"""Token generation: greedy or sampled, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from argotune.steps.serve.engine.interface import Sampling


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
