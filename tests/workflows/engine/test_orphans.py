"""Engines that are killed, with real processes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from argotune.workflows.engine.orphans import end_orphans, orphans, watched
from argotune.workflows.engine.record import run_lock
from tests.workflows.engine.killing import kill_with_watchdog
from tests.workflows.engine.test_resume import is_alive, start_engine, wait_for

SPEC = """
  entrypoint: main
  templates:
  - name: main
    container: {image: b, command: [sh, -c, '%s echo $$$$ > pid; sleep 60 & wait']}
"""


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} goes on"
        time.sleep(0.01)


def test_steps_end_with_their_killed_engine(tmp_path: Path) -> None:
    engine = start_engine(SPEC % 'trap "echo asked > asked; exit" TERM;', tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    engine.kill()
    engine.wait(10)
    wait_until_dead(pid)
    assert wait_for(tmp_path / "asked") == "asked\n", "the step may save what it has done"


def test_they_end_though_the_engine_could_not_note_them(tmp_path: Path) -> None:
    engine = start_engine(SPEC % "", tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    (directory,) = (tmp_path / "run" / "pods").iterdir()
    wait_for(directory / "pid")
    (directory / "pid").unlink()
    engine.kill()
    engine.wait(10)
    wait_until_dead(pid)


def test_without_a_watchdog_they_are_found_and_ended(tmp_path: Path) -> None:
    engine = start_engine(SPEC % "", tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    assert orphans(tmp_path / "run") == {}, "their engine runs"
    kill_with_watchdog(engine)
    ((node_id, groups),) = orphans(tmp_path / "run").items()
    assert (node_id.startswith("wf"), groups) == (True, {pid})
    assert end_orphans(tmp_path / "run", 10.0) == {node_id: {pid}}
    assert not is_alive(pid)
    assert orphans(tmp_path / "run") == {}


def test_those_of_a_resumed_run_are_no_orphans(tmp_path: Path) -> None:
    engine = start_engine(SPEC % "", tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    kill_with_watchdog(engine)
    with run_lock(tmp_path / "run"):
        assert end_orphans(tmp_path / "run") == {}
    assert is_alive(pid)
    end_orphans(tmp_path / "run", 10.0)


def test_an_engine_that_ends_by_itself_leaves_its_watchdog_nothing_to_do(tmp_path: Path) -> None:
    engine = start_engine(SPEC % "", tmp_path)
    wait_for(tmp_path / "pid")
    with watched(tmp_path / "run", 10.0):
        pass
    assert engine.poll() is None
    engine.send_signal(signal.SIGINT)
    assert engine.wait(30) == 0
