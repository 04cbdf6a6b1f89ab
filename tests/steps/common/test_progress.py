from __future__ import annotations

from pathlib import Path

from argotune.steps.common.progress import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_updates_are_rate_limited_and_the_end_is_always_written(tmp_path: Path) -> None:
    clock = Clock()
    progress = Progress(tmp_path / "progress", interval_seconds=1, clock=clock)
    for done in range(5):
        progress.update(done, 10)
    clock.now += 1
    progress.update(5, 10)
    progress.update(10, 10)
    assert (tmp_path / "progress").read_text().split() == ["0/10", "5/10", "10/10"]


def test_what_argo_would_refuse_is_not_written(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress")
    progress.update(1, 0)
    assert not (tmp_path / "progress").exists()
    progress.update(12, 10)
    assert (tmp_path / "progress").read_text() == "10/10\n"


def test_without_a_file_nothing_happens() -> None:
    Progress(None).update(1, 2)
