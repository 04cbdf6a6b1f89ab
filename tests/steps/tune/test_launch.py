"""What becomes of a run when its processes do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from multiprocessing.context import ForkServerContext

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.distributed import World
from argotune.steps.tune.launch import launch
from tests.steps.tune import ranks

Work = Callable[[World], float]


def test_the_first_ones_result_and_log_come_back(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="argotune"):
        assert launch(ranks.add_ranks, 2) == 3.0
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["processes started=2", "rank 0"]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (ranks.second_fails, "no bfloat16 here"),
        (
            ranks.second_is_killed,
            "process 1 of 2 was ended by SIGKILL; the kernel does so when memory is short: give "
            "the step more (parameter tune-memory) or take fewer processes",
        ),
    ],
)
def test_the_one_that_failed_is_heard_and_not_those_that_lost_it(
    work: Work, message: str, forks: ForkServerContext
) -> None:
    with pytest.raises(PermanentError) as caught:
        launch(work, 2, context=forks)
    assert str(caught.value) == message


def test_a_bug_of_one_process_comes_with_its_traceback(
    caplog: pytest.LogCaptureFixture, forks: ForkServerContext
) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        launch(ranks.second_has_a_bug, 2, context=forks)
    assert any("in second_has_a_bug" in record.getMessage() for record in caplog.records)


def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, forks: ForkServerContext) -> None:
    """It would wait for a signal for ever, and this test with it."""
    monkeypatch.setattr("argotune.steps.tune.launch._GRACE_SECONDS", 0.2)
    with pytest.raises(PermanentError, match="the data differ"):
        launch(ranks.first_hangs, 2, context=forks)
