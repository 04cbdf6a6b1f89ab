import pytest

from argotune.steps.common.urls import redact


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://h.example/d/x.parquet?sig=SECRET", "https://h.example/d/x.parquet"),
        ("https://user:pass@h.example:8443/x#sha256=ab", "https://h.example:8443/x"),
        ("file:///data/x.csv", "file:///data/x.csv"),
    ],
)
def test_what_may_hold_a_token_is_left_out(url: str, redacted: str) -> None:
    assert redact(url) == redacted
