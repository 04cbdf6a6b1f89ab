"""Hours and costs of several nodes together."""

from __future__ import annotations

from collections.abc import Iterable


def sum_of_known(values: Iterable[float | None]) -> float | None:
    """Add up the known values; one unknown value makes the sum unknown."""
    numbers = list(values)
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None
