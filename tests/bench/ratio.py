"""How two measurements compare on a machine that is not quiet."""

import statistics
from collections.abc import Iterable


def median_ratio(dividends: Iterable[float], divisors: Iterable[float]) -> float:
    """Median over the rounds; neighbours on the machine disturb a round's contestants alike."""
    return statistics.median(a / b for a, b in zip(dividends, divisors, strict=True))
