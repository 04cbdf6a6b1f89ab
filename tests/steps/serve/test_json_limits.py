from __future__ import annotations

import json

import pytest

from argotune.steps.serve.json_limits import json_excess, repeated_name

MANY_VALUES = "the body has over 10000 values"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON, which the parser says better",
        b'{"prompt": "' + b"a " * 500_000 + b'"}',
        json.dumps({"prompt": '{"code": [1, 2, 3]}' * 20_000}).encode(),
        json.dumps({"prompt": "\\" * 500_000}).encode(),
        b'{"temperature": 0.1000000000000000055511151231257827021181583404541015625}',
        b"[" * 64 + b"]" * 64,
    ],
)
def test_ordinary_bodies_have_no_excess(text: bytes) -> None:
    assert json_excess(text) is None


@pytest.mark.parametrize(
    ("text", "excess"),
    [
        (b'{"messages":[' + b",".join([b"{}"] * 200_000) + b"]}", MANY_VALUES),
        (b'["' + b'","' * 300_000 + b'"]', MANY_VALUES),
        (b'["' + b'\\\\","' * 50_000 + b'"]', MANY_VALUES),
        (b"[" * 65, "the body is nested deeper than 64 levels"),
        (b'{"x":' * 65, "the body is nested deeper than 64 levels"),
        (b'{"max_tokens": 1' + b"0" * 5000 + b"}", "a number of the body has over 400 digits"),
        (b'{"prompt": "\xff"}', "the body is not UTF-8"),
        ('{"prompt": "x"}'.encode("utf-16"), "the body is not UTF-8"),
        ('{"prompt": "x"}'.encode("utf-16-le"), "the body is not UTF-8"),
    ],
)
def test_excess_is_found_before_anything_is_parsed(text: bytes, excess: str) -> None:
    assert json_excess(text) == excess


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"n": 1, "x": {"n": 2}, "y": [{"n": 3}, {"n": 4}]}', None),
        (b'{"n": 1, "n":', None),
        (b'{"n": 1, "m": 2, "n": 1}', "the body has 'n' twice in one object; give it once"),
        (
            b'[{"x": {"\\ud800": 1, "\\ud800": 2}}]',
            "the body has '\\ud800' twice in one object; give it once",
        ),
    ],
)
def test_a_name_that_is_there_twice_is_found(text: bytes, problem: str | None) -> None:
    assert repeated_name(text) == problem
