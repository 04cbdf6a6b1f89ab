"""What is wrong with a command's input is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.workflows.cli.errors import CliError, InputError, read_both
from tests.workflows.cli.command import Argotune


def refuse(text: str) -> None:
    raise InputError(text)


def test_the_problems_of_both_parts_are_in_one_error() -> None:
    assert read_both(lambda: 1, lambda: "b") == (1, "b")
    with pytest.raises(InputError) as caught:
        read_both(lambda: refuse("a"), lambda: read_both(lambda: refuse("b"), lambda: refuse("c")))
    assert caught.value.problems == ["a", "b", "c"]
    with pytest.raises(InputError) as caught:
        read_both(lambda: refuse("a"), lambda: 1)
    assert caught.value.problems == ["a"]


def test_what_is_no_input_is_told_by_itself() -> None:
    def fail() -> None:
        raise CliError("no registry")

    with pytest.raises(CliError, match="no registry"):
        read_both(lambda: refuse("a"), fail)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["rollback", "other", "3"], ["'3'", "'other'"]),
        (
            ["versions", "other", "--auth-file", "no.json", "--ca-file", "no.pem"],
            ["--auth-file no.json", "--ca-file no.pem", "'other'"],
        ),
        (
            ["compare", "one:v1", "x//y", "--ca-file", "no.pem"],
            ["--ca-file no.pem", "'one'", "'x//y'"],
        ),
        (
            ["verify", "x//y", "--key", "no.pub", "--ca-file", "no.pem"],
            ["'x//y'", "--ca-file no.pem", "--key no.pub"],
        ),
    ],
)
def test_commands_about_adapters_name_everything(
    argotune: Argotune,
    arguments: list[str],
    named: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARGOTUNE_HOME", str(tmp_path / "home"))
    answer = argotune(*arguments)
    assert answer.code == 2
    assert [said.removeprefix("error: ").partition(": ")[0] for said in answer.errors] == named
