from __future__ import annotations

import json

import pytest

from argotune.steps.nodes.aks.fault import fault_of


@pytest.mark.parametrize(
    ("body", "codes", "messages"),
    [
        ({"code": "A", "message": "a", "details": None, "subcode": ""}, ("A",), ("a",)),
        ({"error": {"code": "A", "message": "a"}}, ("A",), ("a",)),
        ({"code": "A", "message": "a", "subcode": "B"}, ("A", "B"), ("a",)),
        (
            {"code": "A", "message": "a", "details": [{"code": "B", "message": "b"}]},
            ("A", "B"),
            ("a", "b"),
        ),
        (
            {"code": "A", "message": 'failed: {"error": {"code": "B", "message": "b"}} end'},
            ("A", "B"),
            ("b",),
        ),
        ({"code": "A", "message": 'Code="B" Message="b"'}, ("A", "B"), ('Code="B" Message="b"',)),
        ({"code": "A", "message": "set {x} and {y"}, ("A",), ("set {x} and {y",)),
        ({"error": "invalid_client", "error_description": "d"}, ("invalid_client",), ("d",)),
        (json.dumps({"code": "A", "message": "a"}), ("A",), ("a",)),
        ("<html>", (), ("<html>",)),
        ("", (), ()),
        (None, (), ()),
        ({"details": [7]}, (), ()),
    ],
)
def test_codes_and_messages_are_found_in_every_shape(
    body: object, codes: tuple[str, ...], messages: tuple[str, ...]
) -> None:
    fault = fault_of(body)
    assert (fault.codes, fault.messages) == (codes, messages)


def test_a_body_that_nests_without_end_is_read_to_a_depth() -> None:
    body: object = {"code": "inner", "message": "x"}
    for _ in range(50):
        body = {"code": "outer", "message": "", "details": [body]}
    assert fault_of(body).codes == ("outer",)


def test_the_sentence_is_short_and_on_one_line_and_has_no_query_strings() -> None:
    fault = fault_of({"code": "A", "message": "see\n https://a.b/c?sig=secret " + "x" * 999})
    assert str(fault).startswith("A: see https://a.b/c xxx")
    assert str(fault).endswith("x...")
    assert len(str(fault)) == 403


def test_without_anything_it_says_so() -> None:
    assert str(fault_of(None)) == "no message"
