import threading
from pathlib import Path

import pytest

from argotune.workflows.engine.controller.locks import (
    LockName,
    LockTable,
    lock_names,
    waiting_message,
)
from argotune.workflows.engine.errors import PodError
from tests.workflows.engine.running import run_spec

MUTEX = LockName("Mutex", "default", "m", 1)


def test_a_lock_is_held_by_one_at_a_time_across_runs(tmp_path: Path) -> None:
    ours, theirs = LockTable(tmp_path), LockTable(tmp_path)
    assert ours.acquire("a", [MUTEX]) is None
    assert ours.acquire("a", [MUTEX]) is None
    assert ours.acquire("b", [MUTEX]) == MUTEX
    assert theirs.acquire("c", [MUTEX]) == MUTEX
    ours.release("a")
    assert theirs.acquire("c", [MUTEX]) is None
    theirs.release_all()
    assert ours.acquire("b", [MUTEX]) is None
    ours.release_all()


def test_a_semaphore_has_as_many_places_as_its_config_map_says(tmp_path: Path) -> None:
    wanted = {"semaphores": [{"configMapKeyRef": {"name": "c", "key": "k"}}]}
    names = lock_names(wanted, "default", {"c": {"k": "2"}})
    table = LockTable(tmp_path)
    assert [table.acquire(holder, names) for holder in "abc"] == [None, None, names[0]]
    table.release_all()
    assert waiting_message(names[0]) == ("Waiting for default/ConfigMap/c/k lock. Lock status: 0/2")
    with pytest.raises(PodError, match="configMap 'c' has no whole number under 'x'"):
        lock_names({"semaphores": [{"configMapKeyRef": {"name": "c", "key": "x"}}]}, "default", {})


def test_none_of_two_locks_is_kept_while_one_is_missing(tmp_path: Path) -> None:
    other = LockName("Mutex", "default", "a", 1)
    table = LockTable(tmp_path)
    table.acquire("x", [MUTEX])
    assert table.acquire("y", [other, MUTEX]) == MUTEX
    assert table.acquire("z", [other]) is None
    table.release_all()


def test_two_runs_with_a_mutex_do_not_overlap(tmp_path: Path) -> None:
    spec = """
  entrypoint: main
  synchronization: {mutexes: [{name: shared}]}
  templates:
  - name: main
    container: {image: busybox, command: [sh, -c, "mkdir held && sleep 0.2 && rmdir held"]}
"""
    results: list[str] = []

    def one(number: int) -> None:
        finished = run_spec(spec, tmp_path, run_dir=tmp_path / f"run{number}")
        results.append(finished["status"]["phase"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == ["Succeeded"] * 3
