from __future__ import annotations

from pathlib import Path

import pytest

from steps.common.clock import Clock
from steps.common.nodes.errors import PlacementRefused
from steps.common.nodes.waiting import Waiting
from steps.common.progress import Progress


class Time:
    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def waiting(self, timeout_seconds: float, progress: Progress | None = None) -> Waiting:
        clock = Clock(now=lambda: sum(self.sleeps), sleep=self.sleeps.append)
        return Waiting(timeout_seconds, clock=clock, progress=progress or Progress())


def test_a_phase_ends_with_its_reason() -> None:
    time = Time()
    phase = time.waiting(100.0).phase("no node", 25.0)
    for _ in range(3):
        phase.wait("the machine starts")
    with pytest.raises(PlacementRefused) as caught:
        phase.wait("the machine starts")
    assert str(caught.value) == "no node after 25 s: the machine starts"
    assert time.sleeps == [10.0, 10.0, 5.0]


def test_a_phase_ends_with_the_whole_unless_it_is_an_extra_one() -> None:
    time = Time()
    waiting = time.waiting(5.0)
    phase = waiting.phase("no node", 100.0)
    phase.wait("x")
    with pytest.raises(PlacementRefused):
        phase.wait("x")
    waiting.extra_phase("the pool is still there", 60.0).wait("deleting")
    assert time.sleeps == [5.0, 10.0]


def test_each_reason_is_logged_once_and_progress_follows_the_time(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO", "steps")
    file = tmp_path / "progress"
    waiting = Time().waiting(30.0, Progress(file, interval_seconds=0))
    phase = waiting.phase("no node", 30.0)
    for reason in ("queued", "queued", "starting"):
        phase.wait(reason)
    assert [record.message for record in caplog.records] == [
        "waiting reason=queued",
        "waiting reason=starting",
    ]
    assert file.read_text().split() == ["0/31", "10/31", "20/31"]
