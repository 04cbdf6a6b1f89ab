"""Quantities of the API server, read as its client reads them."""

from __future__ import annotations

import pytest
from kubernetes.utils.quantity import parse_quantity

from argotune.steps.cluster.quantities import quantity


@pytest.mark.parametrize(
    "text",
    [
        0,
        4,
        "4",
        "0.5",
        ".5",
        "1.",
        "500m",
        "3u",
        "7n",
        "2k",
        "16Gi",
        "1Ki",
        "2M",
        "1E",
        "1Ei",
        "-3",
    ],
)
def test_a_quantity_is_read_as_the_client_reads_it(text: object) -> None:
    assert quantity(text) == parse_quantity(text)  # type: ignore[no-untyped-call]


def test_an_exponent_is_a_number() -> None:
    assert quantity("1e3") == quantity("1E3") == 1000


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1mi", "four", "1,5"])
def test_another_text_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity such as"):
        quantity(text)
