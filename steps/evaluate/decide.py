"""Decide from losses per row and from answers whether a new adapter may go into service.

Both models are measured on the same rows, so the difference of each row counts and not two means:
rows differ in loss far more than models do on one row. The gain is the sum of the differences over
the number of learned tokens, and its interval is that of a percentile bootstrap over rows (Efron
and Tibshirani 1993, chapter 13; for two models on the same sentences Koehn 2004,
https://aclanthology.org/W04-3250). The seed is fixed, so equal losses give equal verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from argotune.steps.common.counted import counted
from argotune.steps.contracts.evaluation import PASSED, REJECTED, Comparison, Verdict

FEWEST_ROWS = 5
"""With fewer rows the mean alone decides: resampled, they give an interval that is too narrow to
mean anything."""
_RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 50
"""They bound the memory: 50 indexes for each row."""

Losses = npt.NDArray[np.float64]
"""Summed loss of each row, nats, [rows]."""
Tokens = npt.NDArray[np.int64]
"""Learned tokens of each row, [rows]."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a new adapter has to reach."""

    over_base: float
    """Margin below the base model's loss, nats per token."""
    over_live: float
    """Margin below the loss of the adapter in service."""
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much a loss is lower, nats per token, with the ends of its confidence interval."""

    mean: float
    low: float | None = None
    """None: the rows are too few for an interval."""
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict, and its sentence."""

    verdict: Verdict
    reason: str


def mean_loss(losses: Losses, tokens: Tokens) -> float | None:
    """Loss per token, nats; None if it is no finite number."""
    mean = float(losses.sum() / tokens.sum())
    return mean if np.isfinite(mean) else None


def compare(
    against: Literal["base", "live"],
    other: Losses,
    new: Losses,
    tokens: Tokens,
    limits: Limits,
) -> Comparison:
    """Compare the new adapter's losses with those of another model on the same rows.

    Finite losses are better than others. `new` is finite.
    """
    margin = limits.over_base if against == "base" else limits.over_live
    loss = mean_loss(other, tokens)
    if loss is None:
        return Comparison(against=against, loss=None, gain=None, margin=margin, passed=True)
    gain = gain_over(other, new, tokens, limits.confidence)
    return Comparison(
        against=against,
        loss=loss,
        gain=gain.mean,
        low=gain.low,
        high=gain.high,
        margin=margin,
        passed=(gain.mean if gain.low is None else gain.low) > margin,
    )


def gain_over(other: Losses, new: Losses, tokens: Tokens, confidence: float) -> Gain:
    """By how much the new losses are lower, nats per token; all are finite."""
    differences = other - new
    mean = float(differences.sum() / tokens.sum())
    if len(tokens) < FEWEST_ROWS:
        return Gain(mean=mean)
    low, high = interval_of(differences, tokens, confidence)
    return Gain(mean=mean, low=low, high=high)


def interval_of(differences: Losses, tokens: Tokens, confidence: float) -> tuple[float, float]:
    """Bounds of the gain per token: equal shares of the resampled gains are beyond each."""
    rows = len(differences)
    generator = np.random.default_rng(0)
    gains = np.empty(_RESAMPLES)
    for first in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
        drawn = generator.integers(rows, size=(_RESAMPLES_AT_ONCE, rows))
        gains[first : first + _RESAMPLES_AT_ONCE] = differences[drawn].sum(1) / tokens[drawn].sum(1)
    low, high = np.quantile(gains, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def decide(
    new_loss: float | None,
    comparisons: Sequence[Comparison],
    failures: Sequence[str],
    *,
    rows: int,
    live: str = "",
) -> Decision:
    """Pass an adapter that gained enough over each other model and failed nothing else.

    Args:
        new_loss: Nats per token; None if it is no finite number.
        comparisons: With the base model, and with the adapter in service where there is one.
        failures: What else is wrong with its answers, a clause each.
        rows: That were measured.
        live: What to call the adapter in service.
    """
    if new_loss is None:
        return _rejected(f"its loss on {counted(rows, 'held-out row')} is no finite number")
    lost = [_lack(each, live) for each in comparisons if not each.passed]
    if lost or failures:
        return _rejected("; ".join([*lost, *failures]))
    gains = " and ".join(_gain(each, live) for each in comparisons)
    return Decision(verdict=PASSED, reason=f"on {counted(rows, 'held-out row')} it is {gains}")


def _rejected(reason: str) -> Decision:
    return Decision(verdict=REJECTED, reason=reason)


def _gain(each: Comparison, live: str) -> str:
    name = _name(each, live)
    if each.gain is None:
        return f"better than {name}, whose loss is no finite number"
    if each.gain < 0:
        return (
            f"worse than {name} by {-each.gain:.3g} nats per token, which the margin of"
            f" {each.margin:g} accepts"
        )
    return f"better than {name} by {each.gain:.3g} nats per token{_range(each)}"


def _lack(each: Comparison, live: str) -> str:
    name, gain = _name(each, live), 0.0 if each.gain is None else each.gain
    how = f"not surely better than {name}" if gain > 0 else f"no better than {name}"
    end = "the lower end" if each.low is not None else "that"
    return (
        f"it is {how}: its gain is {gain:.3g} nats per token{_range(each)}, and {end} has"
        f" to be above {each.margin:g}"
    )


def _range(each: Comparison) -> str:
    return "" if each.low is None else f" (interval {each.low:.3g} to {each.high:.3g})"


def _name(each: Comparison, live: str) -> str:
    return "the base model" if each.against == "base" else f"{live} in service"
