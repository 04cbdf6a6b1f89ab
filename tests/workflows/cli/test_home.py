"""Where argotune keeps runs, and who may look into it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.home import Home, check_writable, home
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def default_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """~/.argotune of a user whose home is in the test's directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "jane"))
    monkeypatch.delenv("ARGOTUNE_HOME")
    return tmp_path / "jane" / ".argotune"


def test_it_is_made_for_its_user_alone(
    argotune: Argotune, write: Write, default_home: Path
) -> None:
    assert argotune("run", write("workflow.yaml", GREETING)).code == 0
    assert mode_of(default_home) == 0o700


def test_it_is_closed_where_it_was_open(
    argotune: Argotune, write: Write, default_home: Path
) -> None:
    default_home.mkdir(parents=True)
    default_home.chmod(0o755)
    answer = argotune("run", write("workflow.yaml", GREETING))
    assert (answer.code, answer.err) == (0, "")
    assert mode_of(default_home) == 0o700


def test_a_directory_of_the_users_choice_stays_open_and_is_warned_about(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    home_dir.mkdir()
    home_dir.chmod(0o750)
    answer = argotune("run", write("workflow.yaml", GREETING))
    assert answer.code == 0
    assert answer.err == (
        f"warning: {home_dir} is open to other users of this machine, and runs hold logins and"
        f" data; close it: chmod 700 {home_dir}\n"
    )
    assert mode_of(home_dir) == 0o750


def test_one_that_is_made_anew_needs_no_warning(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    answer = argotune("run", write("workflow.yaml", GREETING))
    assert (answer.code, answer.err) == (0, "")
    assert mode_of(home_dir) == 0o700


def test_looking_at_runs_makes_nothing(argotune: Argotune, default_home: Path) -> None:
    assert argotune("status").code == 0
    assert home().root == default_home
    assert not default_home.exists()


@pytest.mark.parametrize(
    "command", ["doctor", "runs", "status", "stop x", "chat x", "tiny", "rm x", "logs x"]
)
def test_every_command_refuses_a_home_that_is_a_file(
    argotune: Argotune, home_dir: Path, command: str
) -> None:
    home_dir.write_text("")
    answer = argotune(*command.split())
    assert (answer.code, answer.out) == (3, "")
    assert answer.errors == [
        f"{home_dir}: not a directory; name one with ARGOTUNE_HOME, or leave it unset"
    ]


def test_a_home_without_room_for_a_file_is_refused_before_anything_is_computed() -> None:
    # No file can be made in /proc, by root neither, whose rights say nothing.
    with pytest.raises(CliError, match=r"no file can be made there .*: export ARGOTUNE_HOME="):
        check_writable(Path("/proc/self/fd/argotune/claims"))
    with pytest.raises(CliError, match="no file can be made there"):
        Home(Path("/proc/self/fd/argotune")).make()
