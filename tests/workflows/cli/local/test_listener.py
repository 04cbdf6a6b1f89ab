"""What the engine's reports become on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from argotune.steps.common import log
from argotune.workflows.cli.local.listener import ViewListener
from tests.workflows.cli.status import attempt, node, workflow_of


class Screen:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.said: list[str] = []

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, workflow: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> None:
        pass

    def note(self, step: str, text: str) -> None:
        self.notes[step] = text

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_the_loss_of_tunes_log_is_noted_at_its_step(screen: Screen) -> None:
    listener = ViewListener(screen)
    listener.on_node(attempt("tune(0)", "Running"))
    for name, values in (
        ("evaluation", {"step": 0, "eval_loss": 4.44416, "model": "base"}),
        ("other", {"loss": 9}),
        ("step", {"of": 304, "step": 33, "epoch": 0.1, "loss": 3.214567, "tokens_per_second": 9}),
    ):
        listener.on_line("tune(0)", f"12:00:00 INFO {log.line(name, **values)}")
    assert screen.notes == {"tune": "loss 3.21457, held out 4.44416"}


def test_a_line_of_a_step_that_is_not_known_yet_is_left_out(screen: Screen) -> None:
    ViewListener(screen).on_line("tune", "12:00:00 INFO step of=3 step=1 loss=2")
    assert screen.notes == {}


def test_a_suspension_is_told_once_each_time(screen: Screen) -> None:
    listener = ViewListener(screen)
    states = [
        workflow_of(node("wait", phase, type="Suspend"))
        for phase in ("Running", "Running", "Succeeded", "Running")
    ]
    for state in states:
        state["status"]["phase"] = "Running"
        listener.on_workflow(state)
    assert screen.said == ["one is suspended; to let it go on: argotune run --resume one"] * 2


def test_a_stop_is_told_with_what_a_second_one_does(screen: Screen) -> None:
    listener = ViewListener(screen)
    listener.on_shutdown("Stop")
    listener.on_shutdown("Terminate")
    assert screen.said == [
        "stopping: the steps get time to save their work; Ctrl-C once more kills them at once",
        "killing the steps",
    ]
