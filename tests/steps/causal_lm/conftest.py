"""Tests that compare two computations of the same numbers run in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.steps.tune.float64 import in_float64


@pytest.fixture(name="in_float64")
def _in_float64() -> Iterator[None]:
    with in_float64():
        yield
