"""Expected tuning speed, scaled from published measurements.

Time is proportional to the model's size and inversely proportional to the GPU's bfloat16 rate, so
tokens/s x parameters / rate is about the same for all published measurements. The expected range
is from the lowest to the highest of these, scaled to the model and the GPU, and below what the
GPU's rates allow (steps/plan/ceiling.py).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from argotune.presets.loader import published_speeds
from argotune.presets.schema import Anchor, AnchorFile, Method, ModelPreset
from argotune.steps.plan.ceiling import most_tokens_per_second
from argotune.steps.plan.choose import Choice, Job

SECONDS_PER_HOUR = 3600
_LEAST_SHARE = 0.1
"""A model that is smaller by more than this than all measured ones keeps no GPU busy, so that its
speed does not follow from theirs."""
SEVERAL_GPUS_SHARE = 0.9
"""What each of several GPUs adds, of its speed alone. An assumption, which no run has measured: a
step ends with the slowest, and packs are not equally full; then they sum the gradients, 100 MB of
phi-3-mini's adapter, at which a step of a second waits for some hundredths over PCI Express."""


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
    preset: ModelPreset,
    method: Method,
    gpu_model: str | None,
    gpus: int,
    *,
    recomputed_share: float = 0.0,
) -> Span | None:
    """Expected tokens per second of a machine, with this share of its blocks recomputed.

    None if the GPU's rate is unknown, or the model is far smaller than all that were measured.
    """
    published, anchors = published_speeds(), anchors_of(method)
    model = _known_model(gpu_model or "", published)
    least = min(anchor.parameters for anchor in anchors) * _LEAST_SHARE
    if model is None or not gpus or preset.parameters < least:
        return None
    rates = published.bfloat16_tflops
    shares = [
        anchor.tokens_per_second * anchor.parameters / rates[anchor.gpu_model] for anchor in anchors
    ]
    factor = rates[model] / preset.parameters
    most = most_tokens_per_second(
        preset.architecture,
        preset.family,
        recomputed_share=recomputed_share,
        tflops=rates[model],
        memory_gb_per_second=published.memory_gb_per_second[model],
    )
    one = Span(low=min(most, min(shares) * factor), high=min(most, max(shares) * factor))
    return one if gpus == 1 else one.times(SEVERAL_GPUS_SHARE * gpus)


def speed_of(job: Job, choice: Choice, gpu_model: str | None, gpus: int) -> Span | None:
    """Expected tokens per second of a job on so many GPUs; None as `expected_speed`."""
    return expected_speed(
        job.preset,
        job.method,
        gpu_model,
        min(gpus, job.settings.processes or gpus),
        recomputed_share=choice.recomputed_share(job.preset.architecture.num_hidden_layers),
    )


def hours(tokens: float, speed: Span) -> Span:
    """Hours that training on this many tokens takes."""
    return Span(
        low=tokens / speed.high / SECONDS_PER_HOUR, high=tokens / speed.low / SECONDS_PER_HOUR
    )


def anchors_of(method: Method) -> list[Anchor]:
    """The published measurements of a method."""
    return [anchor for anchor in published_speeds().anchors if anchor.method == method]


def _known_model(gpu_model: str, published: AnchorFile) -> str | None:
    """The GPU model whose rates are known, or None.

    It may also be written as in NVIDIA's node labels, such as NVIDIA-A100-SXM4-80GB.
    """
    words = set(re.split(r"[\s-]+", gpu_model))
    return next((name for name in published.bfloat16_tflops if words >= set(name.split())), None)


def _round(value: float) -> str:
    """The number with two significant digits, because the range is no more accurate."""
    if value <= 0:
        return "0"
    rounded = float(f"{value:.1e}")
    decimals = 1 - math.floor(math.log10(rounded))
    return f"{rounded:.{max(0, decimals)}f}"
