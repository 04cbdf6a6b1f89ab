"""The choice of a token from logits: greedy or sampled, within a constraint."""

from __future__ import annotations

import numpy
import torch

from argotune.steps.serve.engine.interface import (
    LEAST_TEMPERATURE,
    Sampling,
    TokenConstraint,
    TokenMask,
)


class Choice:
    """Chooses the tokens of one answer."""

    def __init__(self, sampling: Sampling, constraint: TokenConstraint | None) -> None:
        self._sampling = sampling
        self._constraint = constraint
        # Of the answer's own: what else runs takes nothing from its chance.
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def choose(self, logits: torch.Tensor) -> int:
        """A token for logits [vocabulary], float32 on the CPU.

        Raises ArithmeticError if they are not numbers, and ValueError if the constraint allows
        no token.
        """
        if logits.isnan().any():
            raise ArithmeticError("the model's logits are not numbers")
        mask = None if self._constraint is None else self._constraint.allowed()
        if mask is not None:
            allowed = _allowed(mask, len(logits))
            if not allowed.any():
                raise ValueError("the constraint allows no token")
            logits = logits.masked_fill(~allowed, -torch.inf)
        if self._sampling.temperature < LEAST_TEMPERATURE:
            return int(logits.argmax())
        shares = torch.softmax(logits / self._sampling.temperature, dim=-1)
        if self._sampling.top_p < 1:
            shares = _nucleus(shares, self._sampling.top_p)
        return int(torch.multinomial(shares, 1, generator=self._generator))


def _allowed(mask: TokenMask, vocabulary: int) -> torch.Tensor:
    """[vocabulary], true where the token is allowed; a model may have more than the mask."""
    bits = numpy.unpackbits(mask.view(numpy.uint8), bitorder="little", count=vocabulary)
    allowed = torch.zeros(vocabulary, dtype=torch.bool)
    allowed[: len(bits)] = torch.from_numpy(bits.astype(bool))
    return allowed


def _nucleus(shares: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set probabilities [vocabulary] to 0 except the largest that add up to `top_p`."""
    ordered, order = shares.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    # The likeliest stays, however small `top_p` is: float32 has no number near 1e-300.
    ordered[1:][before[1:] >= top_p] = 0
    return torch.zeros_like(shares).scatter(0, order, ordered)
