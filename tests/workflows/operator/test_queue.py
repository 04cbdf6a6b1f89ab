"""The queue of Workspaces: each by one worker at a time, what changes meanwhile looked at after."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from argotune.steps.common.errors import TransientError
from argotune.workflows.operator import queue as queue_module
from argotune.workflows.operator.queue import WorkQueue
from argotune.workflows.operator.seen import Key

ONE, OTHER = ("team-a", "one"), ("team-a", "other")
_WAIT_SECONDS = 30


class Recorded:
    """Work that waits where a test says so, and is written down."""

    def __init__(self) -> None:
        self.looks: list[tuple[Key, bool]] = []
        self.results: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.errors: list[Exception] = []
        self.wait: float | None = None
        self._loop = asyncio.get_running_loop()

    def __call__(self, key: Key, *, whole: bool) -> float | None:
        self.looks.append((key, whole))
        self._loop.call_soon_threadsafe(self.began.set)
        assert self.gate.wait(_WAIT_SECONDS)
        if self.errors:
            raise self.errors.pop(0)
        return self.wait


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_SECONDS):
        while not met():
            await asyncio.sleep(0)


def played(story: Callable[[Recorded, WorkQueue], object]) -> Recorded:
    async def play() -> Recorded:
        work = Recorded()
        queue = WorkQueue(work, workers=2, done=work.results.append)
        task = asyncio.create_task(queue.run())
        try:
            result = story(work, queue)
            assert asyncio.iscoroutine(result)
            await result
        finally:
            work.gate.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return work

    return asyncio.run(play())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_FIRST_PAUSE_SECONDS", 0.0)


def test_changes_that_follow_each_other_are_one_look() -> None:
    async def story(work: Recorded, queue: WorkQueue) -> None:
        queue.add(ONE)
        queue.add(ONE, whole=True)
        queue.add(ONE, after_seconds=0)
        await until(lambda: work.results == ["done"])

    assert played(story).looks == [(ONE, True)]


def test_what_changes_during_a_look_is_looked_at_after_it() -> None:
    async def story(work: Recorded, queue: WorkQueue) -> None:
        work.gate.clear()
        queue.add(ONE, after_seconds=0)
        await work.began.wait()
        queue.add(ONE, whole=True, after_seconds=0)
        queue.add(OTHER, after_seconds=0)
        await until(lambda: len(work.looks) == 2)
        assert work.looks == [(ONE, False), (OTHER, False)]
        assert queue.longest_look_seconds > 0
        work.gate.set()
        await until(lambda: len(work.results) == 3)

    assert played(story).looks[2] == (ONE, True)


def test_a_failed_look_is_done_again_and_ends_no_worker() -> None:
    async def story(work: Recorded, queue: WorkQueue) -> None:
        work.errors += [TransientError("not now"), ZeroDivisionError()]
        queue.add(ONE, whole=True, after_seconds=0)
        await until(lambda: len(work.results) == 3)

    work = played(story)
    assert work.results == ["retried", "failed", "done"]
    assert work.looks == [(ONE, True)] * 3


def test_it_is_looked_at_again_after_the_time_that_a_look_returns() -> None:
    async def story(work: Recorded, queue: WorkQueue) -> None:
        work.wait = 0.0
        queue.add(ONE, after_seconds=0)
        await until(lambda: len(work.results) == 2)

    assert played(story).looks[:2] == [(ONE, False), (ONE, True)]


def test_what_has_changed_goes_before_those_whose_time_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "BATCH_SECONDS", 0.0)
    refused = [("team-b", str(number)) for number in range(50)]

    async def story(work: Recorded, queue: WorkQueue) -> None:
        work.gate.clear()
        for key in (*refused, OTHER):
            queue.add(key, after_seconds=1e-4)
        await until(lambda: len(work.looks) == 2)
        # Both while it waits as one of the refused, and of one that does not.
        queue.add(OTHER, whole=True, after_seconds=0)
        queue.add(ONE, after_seconds=0)
        for _ in range(3):
            await asyncio.sleep(0)
        work.gate.set()
        await until(lambda: len(work.results) == len(refused) + 2)

    looks = played(story).looks
    assert set(looks[2:4]) == {(OTHER, True), (ONE, False)}
    assert len(looks) == len(refused) + 2


def test_a_look_before_the_time_of_a_whole_one_is_not_whole() -> None:
    async def story(work: Recorded, queue: WorkQueue) -> None:
        work.wait = 3600.0
        queue.add(ONE, whole=True, after_seconds=0)
        await until(lambda: len(work.results) == 1)
        queue.add(ONE, after_seconds=0)
        await until(lambda: len(work.results) == 2)
        queue.add(ONE, whole=True, after_seconds=0)
        await until(lambda: len(work.results) == 3)

    assert [whole for _, whole in played(story).looks] == [True, False, True]


def test_a_whole_look_comes_though_others_go_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "BATCH_SECONDS", 0.01)

    async def story(work: Recorded, queue: WorkQueue) -> None:
        queue.add(ONE, whole=True, after_seconds=0.1)
        queue.add(ONE, after_seconds=0)
        await until(lambda: (ONE, True) in work.looks)

    played(story)
