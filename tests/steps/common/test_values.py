"""Names, quantities, numbers and lists, each rule once."""

from __future__ import annotations

import pytest

from argotune.steps.common.values import (
    NAMES,
    NAMES_OR_NONE,
    TEXT,
    is_bytes,
    is_cpus,
    is_dns_label,
    is_dns_subdomain,
    is_label_key,
    is_label_value,
    is_origin,
    is_positive_number,
    is_whole_number,
)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (is_dns_label, ["a", "a-1", "a" * 63], ["", "1a", "-a", "a-", "A", "a.b", "a" * 64]),
        (is_dns_subdomain, ["a", "1.b-2", "a" * 253], ["", "a..b", "A", "a_b", ".a", "a" * 254]),
        (is_label_key, ["app", "a.b/C_d", "A" * 63], ["", "a/", "/a", "a/b/c", "a b", "A" * 64]),
        (is_label_value, ["", "1", "A_b.c-d"], ["-a", "a,b", "a=b", "a" * 64]),
        (is_bytes, ["1", "0.5Gi", "100Gi", "2G"], ["", "0", "Gi", "1 Gi", "1GiB", "500m", "1e3"]),
        (is_cpus, ["1", "0.5", "500m"], ["", "0", "0m", "1Gi", "-1", "1 m", "0.5m"]),
        (is_positive_number, ["1", "0.5"], ["", "0", "-1", "1e3", "inf"]),
        (
            is_origin,
            ["https://a.example.com", "http://localhost:3000", "https://[::1]"],
            [
                "",
                "*",
                "a.example.com",
                "https://a.example.com/",
                "https://A.example.com",
                "ftp://a",
            ],
        ),
        (is_whole_number, ["0", "8"], ["", "01", "1.0", "-1"]),
    ],
)
def test_names_and_quantities(check: object, good: list[str], bad: list[str]) -> None:
    assert callable(check)
    assert [text for text in good if not check(text)] == []
    assert [text for text in bad if check(text)] == []


def test_a_step_gets_a_list_as_json() -> None:
    assert NAMES.parameter("1, 2") == '["1", "2"]'
    assert NAMES_OR_NONE.parameter("none") == "[]"
    assert TEXT.parameter("none") == "none"
