import pytest

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.govalues import (
    any_string,
    go_json,
    go_string,
    parse_duration_seconds,
)


def test_values_print_as_in_go() -> None:
    assert go_json({"b": 1.0, "a": "<&>", "c": [True, None]}) == (
        '{"a":"\\u003c\\u0026\\u003e","b":1,"c":[true,null]}'
    )
    assert [go_string(v) for v in (None, True, 2.0, 123456789.0)] == [
        "<nil>", "true", "2", "1.23456789e+08",
    ]  # fmt: skip
    assert [any_string(v) for v in (5, 0.1, 1e21, 1000000.0, False, "x")] == [
        "5", "0.1", "1000000000000000000000", "1000000", "false", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), (90, 90.0), ("1m30s", 90.0), ("500ms", 0.5), ("-2s", -2.0), ("0", 0.0)],
)
def test_a_duration_is_seconds_or_go_units(text: str | int, seconds: float) -> None:
    assert parse_duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1x", "m", "1.2.3s", "5m3", "1 h"])
def test_another_duration_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="expected one like 1h30m, 10s, 500ms"):
        parse_duration_seconds(text)
