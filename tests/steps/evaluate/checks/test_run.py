from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from argotune.steps.contracts.checks import Check, CheckResult, Judge
from argotune.steps.evaluate.checks.rows import AnsweredRow, Score, Scorer, prompt_of
from argotune.steps.evaluate.checks.run import run_checks

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}},
            "required": ["town"],
            "additionalProperties": False,
        },
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"town": "Bern"}}\n</tool_call>'


@contextmanager
def no_judge(check: Judge) -> Iterator[Scorer]:
    raise AssertionError(f"{check.title} was asked")
    yield lambda row: Score(0)


def row(answer: str, reference: str = "yes", **fields: Any) -> AnsweredRow:
    return AnsweredRow(prompt="Q", reference=reference, answer=answer, **fields)


def result(check: dict[str, Any], *rows: AnsweredRow) -> CheckResult:
    [found] = run_checks([msgspec.convert(check, Check)], rows, open_judge=no_judge)
    return found


def test_score_is_the_mean_and_is_compared_with_min() -> None:
    rows = [row("yes"), row("no"), row("yes"), row("yes")]
    assert result({"kind": "exact_match", "min": 0.75}, *rows) == CheckResult(
        name="exact_match",
        kind="exact_match",
        score=0.75,
        min=0.75,
        passed=True,
        rows=4,
        examples=result({"kind": "exact_match"}, row("no")).examples,
    )
    strict = result({"kind": "exact_match"}, *rows)
    assert not strict.passed
    assert strict.reason == "check exact_match scores 0.75 on 4 rows, which is below 1"


def test_at_most_three_examples_are_kept_and_their_texts_are_cut() -> None:
    found = result({"kind": "exact_match"}, *(row(f"{index}" + "x" * 600) for index in range(5)))
    assert [each.answer[0] for each in found.examples] == ["0", "1", "2"]
    assert {len(each.answer) for each in found.examples} == {500}
    assert found.examples[0].reason == "it is not the reference"


@pytest.mark.parametrize(
    ("options", "answer", "score"),
    [
        ({}, " yes\n", 1),
        ({}, "Yes", 0),
        ({}, "yes.", 0),
        ({"ignore_case": True}, "YES", 1),
        ({"ignore_punctuation": True}, "yes.", 1),
        ({"ignore_whitespace": False}, "yes ", 0),
    ],
)
def test_exact_match_ignores_what_it_is_told_to(
    options: dict[str, Any], answer: str, score: float
) -> None:
    assert result({"kind": "exact_match", **options}, row(answer)).score == score


def test_exact_match_takes_two_unicode_forms_of_a_letter_for_one() -> None:
    assert result({"kind": "exact_match"}, row("cafe\u0301", reference="caf\u00e9")).score == 1


@pytest.mark.parametrize(
    ("check", "answer", "score"),
    [
        ({"pattern": "^[0-9]+$"}, "42", 1),
        ({"pattern": "^[0-9]+$"}, "42 apples", 0),
        ({"pattern": "(?i)sorry", "negate": True}, "Sorry, I cannot.", 0),
        ({"pattern": "(?i)sorry", "negate": True}, "42", 1),
    ],
)
def test_regex_has_to_match_or_must_not(check: dict[str, Any], answer: str, score: float) -> None:
    assert result({"kind": "regex", **check}, row(answer)).score == score


def test_pattern_that_makes_a_backtracking_engine_hang_takes_linear_time() -> None:
    assert result({"kind": "regex", "pattern": "^(a+)+$"}, row("a" * 100_000 + "b")).score == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"n": 1}', ""),
        ('{"n": "1"}', '"1" is not of type "integer" at [\'n\']'),
        ("{}", '"n" is a required property'),
        ("n is 1", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"n": NaN}', "it is not JSON: NaN is no JSON value"),
        ("[" * 100_000, "it is not JSON: it is nested too deeply"),
    ],
)
def test_json_schema_says_what_is_wrong_with_an_answer(answer: str, reason: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    found = result({"kind": "json_schema", "schema": schema}, row(answer))
    assert [each.reason for each in found.examples] == ([reason] if reason else [])


@pytest.mark.parametrize(
    "answer",
    [
        CALL,
        f"I look it up.\n{CALL}\n{CALL}",
        '[TOOL_CALLS][{"name": "weather", "arguments": {"town": "Bern"}, "id": "abcde1234"}]',
        '<|tool_call|>[{"name": "weather", "arguments": {"town": "Bern"}}]<|/tool_call|>',
        '{"type": "function", "function": {"name": "weather", "arguments": {"town": "Bern"}}}',
    ],
)
def test_call_is_read_in_the_form_of_each_family(answer: str) -> None:
    assert result({"kind": "tool_call"}, row(answer, CALL, tools=[WEATHER])).score == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CALL.replace("weather", "rain"), "'rain' is not among the offered tools"),
        (CALL.replace('"Bern"', "3"), "arguments of 'weather': 3 is not of type \"string\""),
        (CALL.replace("town", "city"), "arguments of 'weather': "),
        (CALL.removesuffix("</tool_call>"), "a <tool_call> is not closed"),
        (CALL.replace("}}", "}"), "it is no call of a tool: "),
        (CALL.replace('{"town": "Bern"}', '"Bern"'), "the arguments of 'weather' are no object"),
        ("It rains.", "it is no call of a tool: "),
        ("[]", "it calls no tool"),
    ],
)
def test_malformed_call_fails_with_its_fault(answer: str, reason: str) -> None:
    found = result({"kind": "tool_call"}, row(answer, CALL, tools=[WEATHER]))
    assert found.score == 0
    assert found.examples[0].reason.startswith(reason)


def test_rows_whose_reference_is_no_call_do_not_count() -> None:
    rows = [row("It rains.", "It rains.", tools=[WEATHER]), row("x", CALL), row("x", "y")]
    found = result({"kind": "tool_call", "min": 0.0}, *rows)
    assert (found.score, found.rows, found.passed) == (None, 0, False)
    assert found.reason == "check tool_call found no held-out row that it applies to"


def test_prompt_of_several_turns_names_their_roles() -> None:
    question = {"role": "user", "content": "Q"}
    assert prompt_of([question]) == "Q"
    assert prompt_of([{"role": "system", "content": "S"}, question]) == "system: S\nuser: Q"
