"""Prices of cloud machines, from the SKU files."""

from __future__ import annotations

from collections.abc import Iterable

from argotune.presets.loader import skus


def prices_usd_per_hour(names: Iterable[str]) -> dict[str, float]:
    """Regular prices of SKUs by the names that were given, in any case of letters, where known."""
    known = {each.name.casefold(): each.price_usd_per_hour for each in skus()}
    found = {name: known.get(name.casefold()) for name in names}
    return {name: price for name, price in found.items() if price is not None}
