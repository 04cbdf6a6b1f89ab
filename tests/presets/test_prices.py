from __future__ import annotations

from argotune.presets.loader import skus
from argotune.presets.prices import prices_usd_per_hour


def test_prices_go_by_the_names_that_were_given_where_they_are_known() -> None:
    known = next(sku for sku in skus() if sku.price_usd_per_hour is not None)
    lower = known.name.lower()
    found = prices_usd_per_hour([known.name, lower, "g5.xlarge"])
    assert found == dict.fromkeys([known.name, lower], known.price_usd_per_hour)
