"""A run while it runs: plain lines, and the table on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from argotune.workflows.cli.show.view import LiveView, PlainView, SilentView, view_for
from tests.workflows.cli.status import attempt, node, retry, workflow_of

LONG = "the message is longer than the terminal is wide " * 4


@pytest.fixture
def screen() -> Console:
    """A terminal of 80 columns that keeps what it shows."""
    return Console(
        file=io.StringIO(), force_terminal=True, width=80, height=40, color_system="truecolor"
    )


@pytest.fixture
def pipe() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80, markup=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(console: Console, *workflows: dict[str, Any]) -> list[str]:
    """What the plain view prints while the workflow changes."""
    with PlainView(console) as view:
        for workflow in workflows:
            view.update(workflow)
    return written(console).splitlines()


def table(console: Console, workflow: dict[str, Any]) -> list[str]:
    """What stands on the terminal at the end, without colours."""
    console.record = True
    with LiveView(console) as view:
        view.update(workflow)
    shown = console.export_text().splitlines()
    return [line.rstrip() for line in shown if line.strip()]


def test_a_terminal_gets_the_table_and_a_pipe_gets_lines(screen: Console, pipe: Console) -> None:
    assert isinstance(view_for(screen), LiveView)
    assert isinstance(view_for(pipe), PlainView)


def test_a_line_when_a_step_starts_and_when_it_ends(pipe: Console) -> None:
    assert lines(
        pipe,
        workflow_of(node("plan", "Pending")),
        workflow_of(node("plan", "Running")),
        workflow_of(node("plan", "Running")),
        workflow_of(node("plan", "Succeeded")),
        workflow_of(node("plan", "Succeeded"), node("tune", "Failed", message="a\n\nb: [c]\n")),
    ) == [
        "plan       running",
        "plan       succeeded 7s",
        "tune       failed 7s  b: [c]",
    ]


def test_a_line_for_every_tenth_of_the_way(pipe: Console) -> None:
    steps = [workflow_of(node("tune", "Running", progress=f"{done}/40")) for done in range(41)]
    shown = lines(pipe, *steps, workflow_of(node("tune", "Running", progress="1/1")))
    assert [line.split()[2] for line in shown] == [f"{done}/40" for done in range(0, 41, 4)]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("00:01:59", "119s"),
        ("00:02:00", "2m00s"),
        ("01:59:59", "119m59s"),
        ("02:05:00", "2h05m"),
        ("20:00:00", "20h00m"),
    ],
)
def test_long_times_are_minutes_and_hours(pipe: Console, end: str, text: str) -> None:
    finished = node("tune", "Succeeded", finishedAt=f"2026-01-01T{end}Z")
    assert lines(pipe, workflow_of(finished)) == [f"tune       succeeded {text}"]


def test_large_counts_are_shares(pipe: Console) -> None:
    (line,) = lines(pipe, workflow_of(node("dataset", "Running", progress="500000/1000000")))
    assert line.startswith("dataset    running 50% ")


def test_tries_are_told(pipe: Console) -> None:
    first = attempt("tune(0)", "Failed", message="main: Error (exit code 75): error: cut off")
    assert lines(
        pipe,
        workflow_of(*retry("tune", "Running", attempt("tune(0)", "Running"))),
        workflow_of(*retry("tune", "Running", first)),
        workflow_of(*retry("tune", "Running", first, message="Backoff for 10 seconds")),
        workflow_of(*retry("tune", "Running", first, attempt("tune(1)", "Pending"))),
        workflow_of(*retry("tune", "Running", first, attempt("tune(1)", "Running"))),
        workflow_of(*retry("tune", "Succeeded", first, attempt("tune(1)", "Succeeded"))),
    ) == [
        "tune       running",
        "tune       retrying  try 1: error: cut off; backoff for 10 seconds",
        "tune       running  try 2",
        "tune       succeeded 7s  try 2",
    ]


def test_steps_that_are_left_out_say_why(pipe: Console) -> None:
    skipped = node("deploy", "Skipped", type="Skipped", message="when 'a == b' evaluated false")
    omitted = node("push", "Omitted", type="Skipped", message="omitted: depends condition not met")
    assert lines(pipe, workflow_of(skipped, omitted)) == [
        "deploy     skipped  when 'a == b' evaluated false",
        "push       omitted  depends condition not met",
    ]


def test_a_step_that_waits_for_a_lock_says_so_once(pipe: Console) -> None:
    waiting = node("push", "Pending", message="Waiting for default/Mutex/x lock. Lock status: 0/1")
    assert lines(pipe, workflow_of(waiting), workflow_of(waiting)) == [
        "push       pending  Waiting for default/Mutex/x lock. Lock status: 0/1"
    ]


def test_steps_of_one_name_are_told_once_each(pipe: Console) -> None:
    both = workflow_of(
        node("a", "Running", displayName="load"),
        node("b", "Succeeded", displayName="load"),
    )
    assert lines(pipe, both, both) == ["load       running", "load       succeeded 7s"]


def test_a_long_line_stays_one_line(pipe: Console) -> None:
    (line,) = lines(pipe, workflow_of(node("tune", "Failed", message=LONG)))
    assert line == f"tune       failed 7s  {LONG.strip()}"


def test_the_table_has_a_row_for_each_step(screen: Console) -> None:
    # By a clock that is ahead: 0 s however long this takes.
    started = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    shown = table(
        screen,
        workflow_of(
            node("plan", "Succeeded"),
            node("model", "Failed", message="main: Error (exit code 3): log\n[/b] error: [x] no"),
            *retry(
                "dataset",
                "Running",
                attempt("dataset(0)", "Failed", message="HTTP 503"),
                message="Backoff for 9 seconds",
                startedAt=started,
            ),
            node("wait", "Running", type="Suspend", startedAt=started),
            node("push", "Omitted", type="Skipped", message="omitted: depends condition not met"),
        ),
    )
    assert shown == [
        f"✔  plan        {'━' * 24}     7s",
        "✖  model       failed                       7s  [/b] error: [x] no",
        "◷  dataset     retrying                     0s  try 1: HTTP 503; backoff for 9",
        "                                                seconds",
        "‖  wait        suspended                    0s",
        "○  push        omitted                          depends condition not met",
    ]


def test_a_training_shows_its_loss_and_the_time_that_is_left(
    screen: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0]
    monkeypatch.setattr("argotune.workflows.cli.show.view.time.monotonic", lambda: seconds[0])
    screen.record = True
    view = LiveView(screen)
    view.note("tune", "loss 3.21, held out 3.5")

    def note() -> str:
        screen.print(view._render())
        return " ".join(screen.export_text().split())

    view.update(workflow_of(node("tune", "Running", progress="0/304")))
    assert note().endswith("loss 3.21, held out 3.5")
    # It goes on from a checkpoint: the steps before it took no time.
    view.update(workflow_of(node("tune", "Running", progress="104/304")))
    assert "left" not in note()
    seconds[0] += 5
    view.update(workflow_of(node("tune", "Running", progress="114/304")))
    assert note().endswith("loss 3.21, held out 3.5, 95s left")
    seconds[0] += 2
    assert note().endswith("93s left")
    view.update(workflow_of(node("tune", "Running", progress="1/304")))
    assert "left" not in note(), "another try begins from the start"


def test_a_line_that_stays(screen: Console, pipe: Console, capsys: Any) -> None:
    for view in (LiveView(screen), PlainView(pipe), SilentView()):
        view.say("stopping")
    assert "stopping\n" in written(screen)
    assert written(pipe) == "stopping\n"
    assert capsys.readouterr() == ("", "stopping\n")


def test_a_long_message_is_folded_beside_its_step(screen: Console) -> None:
    first, *more = table(screen, workflow_of(node("tune", "Failed", message=LONG)))
    begin = first.index("the message")
    assert len(more) >= 3
    assert all(not line[:begin].strip() for line in more)
    assert max(len(line) for line in [first, *more]) <= 78, "the terminal's ^C fits behind it"
    assert " ".join(" ".join(line[begin:].split()) for line in [first, *more]) == LONG.strip()


def test_bars_show_progress_without_the_colour_of_failures(screen: Console) -> None:
    with LiveView(screen) as view:
        view.update(workflow_of(node("tune", "Running", progress="6/12")))
    shown = written(screen)
    assert "\x1b[36m━━━━━━━━━━━━" in shown
    assert "249;38;114" not in shown, "rich's own red"


def test_a_run_that_was_refused_leaves_no_table(screen: Console) -> None:
    screen.record = True
    with LiveView(screen):
        pass
    assert screen.export_text().strip() == ""


def test_the_silent_view_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentView() as view:
        view.update(workflow_of(node("plan", "Running")))
    assert capsys.readouterr().out == ""
