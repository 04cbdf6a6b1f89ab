from __future__ import annotations

import io

from argotune.steps.common.log import CLEAR_LINE
from argotune.steps.tune.live import LiveLine
from tests.steps.tune.test_report import step_record


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_says_how_the_run_stands_and_when_it_ends() -> None:
    terminal, clock = Terminal(), Clock()
    line = LiveLine(100, stream=terminal, clock=clock)
    line.rewind([step_record(10, 3.0)])
    line.add({"step": 10, "eval_loss": 2.5})
    clock.now = 50.0
    line.add(step_record(20, 1.25))
    text = "step 20/100  loss 1.250  held out 2.500  lr 1.0e-04  1,234 tokens/s  1.5 GB  6:40 left"
    assert terminal.getvalue() == f"{CLEAR_LINE}{text[:79]}\r"
    line.close(succeeded=True)
    assert terminal.getvalue().endswith(f"\r{CLEAR_LINE}")


def test_it_is_not_written_more_often_than_it_can_be_read_but_for_the_last() -> None:
    terminal, clock = Terminal(), Clock()
    line = LiveLine(3, stream=terminal, clock=clock)
    line.rewind([])
    for step in (1, 2, 3):
        clock.now += 0.01
        line.add(step_record(step, 1.0))
    assert [part.split()[1] for part in terminal.getvalue().split("\r")[:-1]] == ["1/3", "3/3"]


def test_a_log_file_has_no_such_line() -> None:
    file = io.StringIO()
    line = LiveLine(3, stream=file)
    line.rewind([])
    line.add(step_record(1, 1.0))
    line.close(succeeded=True)
    assert file.getvalue() == ""
