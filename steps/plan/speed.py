"""What class of speed to expect, from what others published of their runs on their cards.

Time goes with a model's size and against a card's rate, so tokens/s x parameters / rate is about
the same for all cards that others measured. A class spans the lowest and the highest of these,
carried over to this model and this card; several GPUs of a machine count in full.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from argotune.presets.loader import published_speeds
from argotune.presets.schema import Anchor, Method

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Span:
    """From the lower to the higher of two numbers."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (_rounded(each) for each in (self.low, self.high))
        return low if low == high else f"{low}-{high}"

    def times(self, factor: float) -> Span:
        """Both multiplied."""
        return Span(low=self.low * factor, high=self.high * factor)


def expected_speed(
    parameters: int, method: Method, gpu_model: str | None, gpus: int
) -> Span | None:
    """Tokens per second of a machine; None for cards whose rate is not known."""
    rates = published_speeds().bfloat16_tflops
    rate = _rate(gpu_model or "")
    if rate is None or not gpus:
        return None
    shares = [
        anchor.tokens_per_second * anchor.parameters / rates[anchor.gpu_model]
        for anchor in anchors_of(method)
    ]
    factor = rate / parameters * gpus
    return Span(low=min(shares) * factor, high=max(shares) * factor)


def hours(tokens: float, speed: Span) -> Span:
    """How long so many tokens take."""
    return Span(
        low=tokens / speed.high / SECONDS_PER_HOUR, high=tokens / speed.low / SECONDS_PER_HOUR
    )


def anchors_of(method: Method) -> list[Anchor]:
    """The publications that a method's class comes from."""
    return [anchor for anchor in published_speeds().anchors if anchor.method == method]


def _rate(gpu_model: str) -> float | None:
    """The rate of a card, also by the name that NVIDIA's node labels have for it, such as
    NVIDIA-A100-SXM4-80GB."""
    words = set(re.split(r"[\s-]+", gpu_model))
    rates = published_speeds().bfloat16_tflops
    return next((rate for name, rate in rates.items() if words >= set(name.split())), None)


def _rounded(value: float) -> str:
    """Two digits: the class is no better than that."""
    if value <= 0:
        return "0"
    rounded = float(f"{value:.1e}")
    decimals = 1 - math.floor(math.log10(rounded))
    return f"{rounded:.{max(0, decimals)}f}"
