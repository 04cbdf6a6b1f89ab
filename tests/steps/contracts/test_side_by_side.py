"""What was found of several models, in brief."""

from __future__ import annotations

from argotune.steps.contracts.checks import CheckResult, Example
from argotune.steps.contracts.side_by_side import (
    Measured,
    Question,
    SideBySide,
    dump_in_brief,
    parse_side_by_side,
)

EXAMPLE = Example(prompt="Q", reference="42", answer="41", score=0.0, reason="it is not 42")
CHECK = CheckResult(
    name="same", kind="exact_match", score=0.5, min=1.0, passed=False, rows=2, examples=[EXAMPLE]
)
FOUND = SideBySide(
    base="argotune/tiny@0",
    rows=2,
    tokens=9,
    confidence=0.95,
    questions=[Question(prompt="Q", reference="42")],
    models=[Measured(name="tiny", adapter="", loss=4.5, answers=["41"], checks=[CHECK])],
)


def test_texts_are_left_out_only_where_they_are_too_long_for_an_output() -> None:
    assert parse_side_by_side(dump_in_brief(FOUND, most_bytes=10_000).encode()) == FOUND
    text = dump_in_brief(FOUND, most_bytes=100)
    assert "41" not in text
    [model] = parse_side_by_side(text.encode()).models
    [check] = model.checks
    assert (model.loss, check.score) == (4.5, 0.5)
