"""What cloud machines cost and have, from the SKU files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argotune.presets.loader import skus
from argotune.presets.schema import Sku


def machines(names: Iterable[str]) -> Mapping[str, Sku]:
    """SKUs by the names that were given, in any case of letters, where known."""
    known = {each.name.casefold(): each for each in skus()}
    return {name: known[name.casefold()] for name in names if name.casefold() in known}
