from __future__ import annotations

from pathlib import Path

from argotune.steps.common.termination_log import TerminationLog


def test_a_text_takes_the_place_of_a_longer_one_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.touch()
    inode = path.stat().st_ino
    log = TerminationLog(path)
    log.write("host memory: 3 GiB")
    log.write("error")
    assert path.read_text() == "error"
    # The kubelet mounts the file: another one of its name would be read by nobody.
    assert path.stat().st_ino == inode


def test_a_file_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    TerminationLog(tmp_path / "log").write("error")
    assert (tmp_path / "log").read_text() == "error"


def test_no_more_is_written_than_the_kubelet_reads(tmp_path: Path) -> None:
    TerminationLog(tmp_path / "log").write("x" * 10_000)
    assert (tmp_path / "log").stat().st_size == 4096


def test_a_place_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    TerminationLog(tmp_path / "missing" / "log").write("error")
    TerminationLog(None).write("error")
    assert list(tmp_path.iterdir()) == []
