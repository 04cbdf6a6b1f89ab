from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from argotune.steps.common.fs import (
    atomic_write,
    partial_path,
    remove_partials,
    replacing,
    replacing_directory,
    sha256_file,
)


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_written_whole_with_the_mode_of_a_new_one(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "deep" / "file"
    atomic_write(path, "content")
    assert path.read_text() == "content"
    assert mode(path) == 0o666 & ~umask
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_a_library_keeps_private_gets_the_mode_of_a_new_one(
    tmp_path: Path, umask: int
) -> None:
    with replacing(tmp_path / "file") as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    with replacing_directory(tmp_path / "directory") as temporary:
        (temporary / "inner").mkdir(mode=0o700)
        (temporary / "inner" / "weights").touch(mode=0o600)
    assert mode(tmp_path / "file") == 0o666 & ~umask
    assert mode(tmp_path / "directory") == mode(tmp_path / "directory/inner") == 0o777 & ~umask
    assert mode(tmp_path / "directory" / "inner" / "weights") == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    with pytest.raises(RuntimeError):
        _fail_half_way(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    partial_path(path).write_text("more than the new content")
    atomic_write(path, "content")
    assert path.read_text() == "content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    for left in (".directory.part", ".directory.old.part", "directory"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "old").touch()
    with replacing_directory(path) as temporary:
        assert list(temporary.iterdir()) == []
        (temporary / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["directory", "new"]


def test_a_directory_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(RuntimeError):
        _fail_half_way_in(path)
    assert list(tmp_path.rglob("*")) == [path]


def test_only_partial_files_of_the_name_are_removed(tmp_path: Path) -> None:
    names = [".one.part", ".one.old.part", ".two.part", "one.part", ".hidden", "one"]
    for name in names:
        (tmp_path / name).touch()
    remove_partials(tmp_path, "one")
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:]}
    remove_partials(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[3:]}


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def _fail_half_way_in(directory: Path) -> None:
    with replacing_directory(directory) as temporary:
        (temporary / "new").touch()
        raise RuntimeError


def _fail_half_way(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError
