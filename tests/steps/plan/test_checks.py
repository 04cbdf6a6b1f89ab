from __future__ import annotations

import math
from typing import Any

import pytest

from argotune.steps.contracts.checks import ExactMatch, Judge, Regex
from argotune.steps.plan.checks import read_checks
from argotune.steps.plan.readers import WrongParts

JUDGE = {
    "kind": "judge",
    "url": "https://judge.example/v1",
    "model": "m",
    "prompt": "{answer}",
    "min": 0.7,
}


def problems(*checks: Any) -> list[str]:
    with pytest.raises(WrongParts) as caught:
        read_checks(list(checks))
    return caught.value.problems


def test_checks_are_read_in_order_with_their_defaults() -> None:
    assert read_checks(
        [{"kind": "exact_match", "min": 0.9}, {"kind": "regex", "pattern": "a"}, JUDGE]
    ) == [
        ExactMatch(min=0.9),
        Regex(pattern="a", min=1.0),
        Judge(url="https://judge.example/v1", model="m", prompt="{answer}", min=0.7, scale=10),
    ]


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("regex", ": 'regex'; accepted is a mapping with kind, one of exact_match, regex,"),
        ({}, ".kind: is missing; accepted is one of exact_match, regex, json_schema,"),
        ({"kind": "exact-match"}, ".kind: 'exact-match' is no kind of check; did you mean exact_"),
        ({"kind": "regex"}, ": Object missing required field `pattern`, in a check regex"),
        (
            {"kind": "regex", "pattern": "a", "min": 1.5},
            ".min: Expected `float` <= 1.0, in a check regex",
        ),
        (
            {"kind": "exact_match", "pattern": "a"},
            ": Object contains unknown field `pattern`, in a check exact_match",
        ),
        ({"kind": "regex", "pattern": "("}, ".pattern: '('; accepted is a regular expression"),
        ({"kind": "regex", "pattern": "(?=a)b"}, ".pattern: '(?=a)b'; accepted is a regular"),
        ({"kind": "regex", "pattern": "a{999}{999}"}, ".pattern: 'a{999}{999}'; accepted is"),
        (
            {"kind": "json_schema", "schema": {"type": "strin"}},
            '.schema: not a JSON schema: "strin" is not valid under any of the schemas listed in '
            "the 'anyOf' keyword at ['type']",
        ),
        (
            {"kind": "json_schema", "schema": {"$ref": "http://127.0.0.1/x"}},
            ".schema: not a JSON schema: Resource 'http://127.0.0.1/x' is not present",
        ),
        (
            {"kind": "json_schema", "schema": {"const": "x" * 70_000}},
            ".schema: accepted are at most 64 KiB as JSON",
        ),
        ({**JUDGE, "prompt": "Is it good?"}, ".prompt: without {answer} the judge would not see"),
        ({**JUDGE, "url": "judge.example"}, ".url: 'judge.example'; accepted is the base of an"),
        ({**JUDGE, "url": "https://judge.example/?key=s"}, ".url: 'https://judge.example/'; "),
        ({**JUDGE, "url": "https://u:p@judge.example"}, ".url: 'https://judge.example'; accepted"),
        ({**JUDGE, "url": "http://169.254.169.254/v1"}, ".url: 'http://169.254.169.254/v1'; a cl"),
        ({"kind": "lm-eval"}, ".kind: 'lm-eval' is no kind of check; did you mean lm_eval?"),
        (
            {"kind": "lm_eval", "tasks": ["arc_easy"]},
            ": without min, min_improvement or min_improvement_over_live every adapter would pass;",
        ),
        (
            {"kind": "lm_eval", "tasks": ["arc_easy", "arc_easy"], "min": 0.5},
            ".tasks: arc_easy is there twice; remove one",
        ),
        (
            {"kind": "lm_eval", "tasks": [], "min": 0.5},
            ".tasks: Expected `array` of length >= 1, in a check lm_eval",
        ),
        ({"kind": "scorer", "scorer": "To_ne", "min": 1}, ".scorer: 'To_ne'; accepted is a name"),
        (
            {"kind": "scorer", "scorer": "tone", "min": 1, "env": {"A": "\x07"}},
            ".env.A: '\\x07'; accepted is a text of printable characters",
        ),
        ({"kind": "scorer", "scorer": "tone"}, ": without min, min_row, min_improvement or"),
        (
            {"kind": "scorer", "scorer": "tone", "min_row": -math.inf},
            ".min_row: -inf; accepted is a finite number",
        ),
        (
            {"kind": "lm_eval", "tasks": ["a"], "min_improvement_over_live": math.nan},
            ".min_improvement_over_live: nan; accepted is a finite number",
        ),
        (
            {"kind": "scorer", "scorer": "tone", "min": 1, "args": ["a\n{{workflow.name}}"]},
            ".args[0]: 'a\\n{{workflow.name}}'; accepted is a text without '{{', which Argo",
        ),
        (
            {"kind": "scorer", "scorer": "tone", "min": 1, "env": {"ROWS_FILE": "/etc/passwd"}},
            ".env: 'ROWS_FILE'; accepted is the name of a variable of your own",
        ),
        (
            {key: value for key, value in JUDGE.items() if key != "min"},
            ": Object missing required field `min`, in a check judge",
        ),
    ],
)
def test_wrong_check_is_refused_by_its_place(check: Any, problem: str) -> None:
    [found] = problems(check)
    assert found.startswith(f"[0]{problem}")


def test_problems_of_all_checks_are_told_at_once() -> None:
    found = problems({"kind": "regex", "pattern": "("}, {"kind": "exact_match"}, {"kind": "?"})
    assert [each[:3] for each in found] == ["[0]", "[2]"]


def test_checks_of_the_same_name_are_refused() -> None:
    check = {"kind": "exact_match"}
    assert problems(check, check) == [
        ": 2 checks are called 'exact_match'; give each a name of its own: name"
    ]
    assert len(read_checks([check, {**check, "name": "again"}])) == 2


@pytest.mark.parametrize("value", [{}, "regex", [{"kind": "exact_match"}] * 21])
def test_what_is_no_list_of_checks_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a list of at most 20 checks"):
        read_checks(value)


def test_scorers_are_told_apart_by_names_that_a_directory_may_have() -> None:
    check = {"kind": "scorer", "scorer": "tone", "min": 0.5}
    assert problems(check, check) == [
        ": 2 checks are called 'tone'; give each a name of its own: name"
    ]
    assert problems({**check, "name": "../of tone"}) == [
        "[0].name: '../of tone'; accepted for a scorer are lower-case letters, digits and '-'"
    ]
    titles = [each.title for each in read_checks([check, {**check, "name": "again"}])]
    assert titles == ["tone", "again"]
