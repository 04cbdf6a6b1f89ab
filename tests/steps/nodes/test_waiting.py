from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.waiting import Stage, Waiting


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


def test_each_reason_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "argotune")
    phase = Time().waiting(30.0).phase("no node", 30.0)
    for reason in ("queued", "queued", "starting"):
        phase.wait(reason)
    assert [record.message for record in caplog.records] == [
        "waiting reason=queued",
        "waiting reason=starting",
    ]


def test_progress_counts_how_far_the_node_is(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    waiting = Time().waiting(30.0, Progress(file, interval_seconds=0))
    for stage in (Stage.ASKED, Stage.MADE, Stage.ASKED, Stage.MADE, Stage.JOINED):
        waiting.reach(stage)
        waiting.sleep("queued", 1.0)
    waiting.done()
    assert file.read_text().split() == ["1/4", "2/4", "1/4", "2/4", "3/4", "4/4"]


def test_without_stages_only_the_end_is_progress(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    waiting = Time().waiting(30.0, Progress(file, interval_seconds=0))
    waiting.sleep("no GPU is free", 10.0)
    waiting.done()
    assert file.read_text().split() == ["1/1"]


def test_who_listens_hears_every_ten_seconds_and_may_end_the_waiting() -> None:
    heard: list[str] = []

    def listen(reason: str) -> None:
        heard.append(reason)
        if len(heard) == 4:
            raise RuntimeError("enough")

    time = Time()
    clock = Clock(now=lambda: sum(time.sleeps), sleep=time.sleeps.append)
    waiting = Waiting(600.0, clock=clock, progress=Progress(), on_wait=listen)
    waiting.sleep("starting", 4.0)
    with pytest.raises(RuntimeError, match=r"^enough$"):
        waiting.sleep("no machines", 600.0)
    assert heard == ["starting", "no machines", "no machines", "no machines"]
    assert time.sleeps == [4.0, 10.0, 10.0]
