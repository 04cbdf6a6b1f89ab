from __future__ import annotations

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


def test_a_file_is_written_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    atomic_write(path, "content")
    assert path.read_text() == "content"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


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
