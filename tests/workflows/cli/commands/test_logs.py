"""argotune logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.cli.command import Argotune, Processes, finish, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import dag, shell, workflow

STEPS = workflow(
    dag("first", "flaky after first"),
    shell("first", "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three"),
    shell("flaky", "echo try {{retries}}; test {{retries}} = 1", retryStrategy={"limit": "1"}),
    shell("bye", "echo bye"),
    onExit="bye",
)


@pytest.fixture
def run(argotune: Argotune, write: Write) -> str:
    assert argotune("run", write("workflow.yaml", STEPS), "--name", "one").code == 0
    return "one"


def test_every_line_has_its_step(argotune: Argotune, run: str) -> None:
    answer = argotune("logs", run)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "first: one",
        "first: two",
        "first: three",
        "flaky(0): try 0",
        "flaky(1): try 1",
        "bye: bye",
    ]


def test_one_step_has_its_lines_alone(argotune: Argotune, run: str) -> None:
    assert argotune("logs", run, "bye").out == "bye\n"
    assert argotune("logs", "greet", "flaky(1)").out == "try 1\n"


def test_a_step_stands_for_its_tries(argotune: Argotune, run: str) -> None:
    assert argotune("logs", run, "flaky").out == "flaky(0): try 0\nflaky(1): try 1\n"


def test_an_unknown_step_or_run(argotune: Argotune, run: str) -> None:
    answer = argotune("logs", run, "tune")
    assert answer.code == 2
    assert answer.errors == [
        "'tune': no step of one with a log; there are first, flaky(0), flaky(1), bye"
    ]
    answer = argotune("logs", "nope")
    assert answer.code == 2
    assert answer.errors == [
        "'nope': no run or workspace of this name on this machine; there are greet"
    ]


def test_follow_prints_lines_while_the_run_goes_on_and_ends_with_it(
    start: Processes, write: Write, tmp_path: Path, home_dir: Path
) -> None:
    go_on = tmp_path / "go-on"
    script = f"echo one; until test -e {go_on}; do sleep 0.05; done; echo two"
    run = start("run", write("workflow.yaml", workflow(shell("main", script))), "--name", "slow")
    wait_until(lambda: any(home_dir.glob("runs/slow/workflow.json")))
    following = start("logs", "slow", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == "slow: one\n"
    go_on.touch()
    answer = finish(following)
    assert (answer.code, answer.out, answer.err) == (0, "slow: two\n", "")
    assert finish(run).code == 0
