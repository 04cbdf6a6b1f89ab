"""Reading preset files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.presets.loader import machines, sku_catalogs, skus


def test_unknown_key_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(
        "{cloud: acme, providers: [], price_region: north, price_source: a list, skus: [], zone: 1}"
    )
    with pytest.raises(ValueError, match=r"Object contains unknown field `zone`$") as caught:
        sku_catalogs(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_machines_go_by_the_names_that_were_given_where_they_are_known() -> None:
    known = skus()[0]
    lower = known.name.lower()
    assert machines([known.name, lower, "g5.xlarge"]) == {known.name: known, lower: known}
