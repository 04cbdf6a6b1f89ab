from __future__ import annotations

from argotune.presets.loader import skus
from argotune.presets.machines import machines


def test_machines_go_by_the_names_that_were_given_where_they_are_known() -> None:
    known = skus()[0]
    lower = known.name.lower()
    assert machines([known.name, lower, "g5.xlarge"]) == {known.name: known, lower: known}
