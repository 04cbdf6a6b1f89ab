"""A pod's files stay in its directory and its volumes."""

from pathlib import Path

import pytest

from argotune.workflows.engine.errors import PodError
from argotune.workflows.engine.pods.inside import (
    absolute_inside,
    plain_name,
    refuse_link_outside,
    relative_inside,
)


@pytest.mark.parametrize("path", ["/tmp/../etc/passwd", "/..", "tmp/out", "..", ""])
def test_a_path_of_a_container_is_absolute_and_never_goes_up(path: str) -> None:
    with pytest.raises(PodError, match=r"^mountPath '.*' must be absolute and without '..'$"):
        absolute_inside(path, "mountPath")


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../../x", "a/.."])
def test_a_path_of_a_volume_is_relative_and_never_goes_up(path: str) -> None:
    with pytest.raises(PodError, match=r"^subPath '.*' must be relative and without '..'$"):
        relative_inside(path, "subPath")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a"])
def test_a_name_is_one_name(name: str) -> None:
    with pytest.raises(PodError, match=r"^volume '.*' must be a name without '/'$"):
        plain_name(name, "volume")


def test_dots_that_go_nowhere_are_names() -> None:
    assert absolute_inside("/tmp/..a/b..c", "path") == "/tmp/..a/b..c"
    assert relative_inside("...", "path").name == plain_name("...", "path")


def test_a_link_may_lead_anywhere_inside_and_nowhere_else(tmp_path: Path) -> None:
    pod, volume = tmp_path / "pod", tmp_path / "volume"
    for directory in (pod, volume, tmp_path / "pod-of-another"):
        directory.mkdir()
    for name, target in {
        "volume": volume,
        "missing": volume / "later",
        "up": tmp_path,
        "beside": tmp_path / "pod-of-another",
        "ring": pod / "ring",
    }.items():
        (pod / name).symlink_to(target)
    for inside in (pod / "new" / "file", pod / "volume" / "file", pod / "missing", pod / "ring"):
        refuse_link_outside(inside, [pod, volume], "it")
    for outside in (pod / "up", pod / "up" / "file", pod / "beside", pod / ".." / "file"):
        with pytest.raises(PodError, match=r"^it leads out of the pod's directory and volumes"):
            refuse_link_outside(outside, [pod, volume], "it")


def test_a_root_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "claim").symlink_to(tmp_path / "disk")
    refuse_link_outside(tmp_path / "claim" / "file", [tmp_path / "claim"], "it")
