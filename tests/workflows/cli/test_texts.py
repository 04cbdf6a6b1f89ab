"""The files that a command writes where the user says."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.workflows.cli.errors import os_message
from argotune.workflows.cli.texts import write_file


def test_a_file_that_finds_no_room_is_named() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_file(Path("/dev/full"), b"x")
    assert os_message(caught.value) == "/dev/full: No space left on device"


def test_what_is_no_regular_file_is_written_to_as_it_is(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "page.html")
    write_file(link, b"x")
    assert link.is_symlink()
    assert (tmp_path / "page.html").read_bytes() == b"x"
