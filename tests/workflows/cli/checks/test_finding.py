"""A finding as one line of an error."""

from __future__ import annotations

from argotune.workflows.cli.checks.finding import problem


def test_a_command_stands_after_a_colon() -> None:
    assert problem("no weights", "make them", "argotune tiny").in_one_line() == (
        "no weights; make them: argotune tiny"
    )
    assert problem("no room", "delete something").in_one_line() == "no room; delete something"
