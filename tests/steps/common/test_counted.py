"""Numbers with what they count: one is in the singular."""

from __future__ import annotations

import pytest

from argotune.steps.common.counted import counted


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 rows"),
        (1, "1 row"),
        (2, "2 rows"),
        (1026, "1,026 rows"),
        (1.0, "1 row"),
        (0.5, "0.5 rows"),
    ],
)
def test_one_is_in_the_singular(number: float, text: str) -> None:
    assert counted(number, "row") == text
