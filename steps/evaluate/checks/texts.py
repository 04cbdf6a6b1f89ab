"""Checks of an answer's text: the same as the reference, by a pattern, by a JSON schema."""

from __future__ import annotations

import unicodedata

from argotune.steps.contracts.checks import ExactMatch, JsonSchema, Regex
from argotune.steps.contracts.json_schema import (
    compile_pattern,
    compile_schema,
    problem_of,
    read_json,
)
from argotune.steps.evaluate.checks.rows import RIGHT, AnsweredRow, Score, Scorer, wrong


def match_exactly(check: ExactMatch) -> Scorer:
    """Score 1 for an answer that is the reference after both are normalised."""

    def score(row: AnsweredRow) -> Score:
        same = normalise(row.answer, check) == normalise(row.reference, check)
        return RIGHT if same else wrong("it is not the reference")

    return score


def normalise(text: str, check: ExactMatch) -> str:
    """The text in the form in which the check compares."""
    text = unicodedata.normalize("NFC", text)
    if check.ignore_case:
        text = text.casefold()
    if check.ignore_punctuation:
        text = "".join(each for each in text if not unicodedata.category(each).startswith("P"))
    if check.ignore_whitespace:
        text = " ".join(text.split())
    return text


def match_pattern(check: Regex) -> Scorer:
    """Score 1 for an answer that the pattern matches, or does not where it must not."""
    pattern = compile_pattern(check.pattern)

    def score(row: AnsweredRow) -> Score:
        if pattern.is_valid(row.answer) != check.negate:
            return RIGHT
        return wrong(f"it {'matches' if check.negate else 'does not match'} the pattern")

    return score


def match_schema(check: JsonSchema) -> Scorer:
    """Score 1 for an answer that is JSON and valid by the schema."""
    schema = compile_schema(check.schema)

    def score(row: AnsweredRow) -> Score:
        try:
            value = read_json(row.answer)
        except ValueError as error:
            return wrong(f"it is not JSON: {error}")
        problem = problem_of(schema, value)
        return wrong(problem) if problem else RIGHT

    return score
