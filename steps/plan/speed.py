"""Expected tuning speed, scaled from published measurements.

Time is proportional to the model's size and inversely proportional to the GPU's bfloat16 rate, so
tokens/s x parameters / rate is about the same for all published measurements. The expected range
is from the lowest to the highest of these, scaled to the model and the GPU. Several GPUs of a
machine are assumed to scale linearly.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from argotune.presets.loader import published_speeds
from argotune.presets.schema import Anchor, Method

SECONDS_PER_HOUR = 3600
_LEAST_SHARE = 0.1
"""A model that is smaller by more than this than all measured ones keeps no GPU busy, so that its
speed does not follow from theirs."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A range of numbers."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (_round(each) for each in (self.low, self.high))
        return low if low == high else f"{low}-{high}"

    def times(self, factor: float) -> Span:
        """The range multiplied by a factor."""
        return Span(low=self.low * factor, high=self.high * factor)


def expected_speed(
    parameters: int, method: Method, gpu_model: str | None, gpus: int
) -> Span | None:
    """Expected tokens per second of a machine.

    None if the GPU's rate is unknown, or the model is far smaller than all that were measured.
    """
    rates = published_speeds().bfloat16_tflops
    rate, anchors = _rate(gpu_model or ""), anchors_of(method)
    least = min(anchor.parameters for anchor in anchors) * _LEAST_SHARE
    if rate is None or not gpus or parameters < least:
        return None
    shares = [
        anchor.tokens_per_second * anchor.parameters / rates[anchor.gpu_model] for anchor in anchors
    ]
    factor = rate / parameters * gpus
    return Span(low=min(shares) * factor, high=max(shares) * factor)


def hours(tokens: float, speed: Span) -> Span:
    """Hours that training on this many tokens takes."""
    return Span(
        low=tokens / speed.high / SECONDS_PER_HOUR, high=tokens / speed.low / SECONDS_PER_HOUR
    )


def anchors_of(method: Method) -> list[Anchor]:
    """The published measurements of a method."""
    return [anchor for anchor in published_speeds().anchors if anchor.method == method]


def _rate(gpu_model: str) -> float | None:
    """The bfloat16 rate of a GPU model in 10^12 operations per second, or None.

    The model may also be written as in NVIDIA's node labels, such as NVIDIA-A100-SXM4-80GB.
    """
    words = set(re.split(r"[\s-]+", gpu_model))
    rates = published_speeds().bfloat16_tflops
    return next((rate for name, rate in rates.items() if words >= set(name.split())), None)


def _round(value: float) -> str:
    """The number with two significant digits, because the range is no more accurate."""
    if value <= 0:
        return "0"
    rounded = float(f"{value:.1e}")
    decimals = 1 - math.floor(math.log10(rounded))
    return f"{rounded:.{max(0, decimals)}f}"
