"""Log probabilities of tokens from logits, as a question may ask for them."""

from __future__ import annotations

from typing import Any

import torch

from argotune.steps.serve.engine.interface import TokenLogprob
from argotune.steps.serve.engine.token_texts import TokenTexts


class Logprobs:
    """Makes TokenLogprobs from logits."""

    def __init__(self, tokenizer: Any) -> None:
        self._texts = TokenTexts(tokenizer)

    def of(self, token: int, logits: torch.Tensor, top: int) -> TokenLogprob:
        """The chosen token and the `top` most likely ones, from logits [vocabulary] in float32."""
        logprobs = torch.log_softmax(logits, dim=-1)
        best = logprobs.topk(top) if top else None
        likeliest = () if best is None else zip(*map(torch.Tensor.tolist, best), strict=True)
        return self._texts.named(
            token,
            float(logprobs[token]),
            tuple(self._texts.named(other, logprob) for logprob, other in likeliest),
        )
