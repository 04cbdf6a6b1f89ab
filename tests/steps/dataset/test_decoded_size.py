"""Sizes of values as text, whatever their encoding."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from argotune.steps.dataset.decoded_size import row_sizes, value_sizes

EACH = 16
"""What a value counts beside its text."""
LISTS = [[{"role": "user", "content": "abc"}], None, [], [{"role": "a", "content": None}] * 2]
LIST_TYPE = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
TEXTS = ["a", None, "ä", ""]
TEXT_SIZES = [EACH + 1, EACH, EACH + 2, EACH]


@pytest.mark.parametrize(
    ("values", "sizes"),
    [
        (pa.array(TEXTS), TEXT_SIZES),
        (pa.array(TEXTS, pa.large_string()), TEXT_SIZES),
        (pa.array(TEXTS, pa.string_view()), TEXT_SIZES),
        (pa.array(TEXTS).dictionary_encode(), TEXT_SIZES),
        (pa.array(["left out", *TEXTS]).slice(1), TEXT_SIZES),
        (pa.array(["left out", *TEXTS], pa.string_view()).slice(1), TEXT_SIZES),
        (pa.array(["left out", *TEXTS]).dictionary_encode().slice(1), TEXT_SIZES),
        (pa.array([1, None]), [EACH, EACH]),
        (pa.nulls(2), [EACH, EACH]),
        (pa.array(LISTS, LIST_TYPE), [4 * EACH + 7, EACH, EACH, EACH + 6 * EACH + 2]),
        (pa.array(LISTS, LIST_TYPE).slice(2), [EACH, EACH + 6 * EACH + 2]),
        (pa.array([["ab", "c"], None], pa.list_(pa.string(), 2)), [3 * EACH + 3, EACH]),
    ],
)
def test_sizes_of_values(values: Any, sizes: list[int]) -> None:
    assert value_sizes(values).tolist() == sizes


def test_a_row_has_the_sizes_of_its_columns() -> None:
    rows = pa.record_batch({"a": ["x", "yy"], "b": ["", "z"]})
    assert row_sizes(rows).tolist() == [2 * EACH + 1, 2 * EACH + 3]
