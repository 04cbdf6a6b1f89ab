from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from steps.common.errors import CapacityError, ParamsError, PermanentError, TransientError
from steps.common.main import main
from steps.common.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Params:
    """An example step."""

    rows: int
    """How many."""


@dataclass(frozen=True, kw_only=True)
class Result:
    train_rows: int
    """Half of them."""
    digest: str
    """Their digest."""


@pytest.fixture(autouse=True)
def keep_signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def half(params: Params, *, progress: Progress) -> Result:
    progress.update(1, 1)
    return Result(train_rows=params.rows // 2, digest="sha256:ab")


def failing(error: Exception) -> object:
    def run(params: Params, *, progress: Progress) -> Result:
        raise error

    return run


def exit_code(run: object, *arguments: str) -> int:
    with pytest.raises(SystemExit) as raised:
        main(Params, Result, run, arguments=arguments)  # type: ignore[type-var, arg-type]
    assert isinstance(raised.value.code, int)
    return raised.value.code


def test_every_result_field_becomes_a_file(tmp_path: Path) -> None:
    assert exit_code(half, f"--outputs-dir={tmp_path}", "--rows=9") == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "train-rows": "4",
        "digest": "sha256:ab",
    }


def test_progress_goes_to_the_file_that_argo_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "progress"))
    assert exit_code(half, "--rows=2") == 0
    assert (tmp_path / "progress").read_text() == "1/1\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ParamsError(["a: wrong", "b: wrong"]), 2, "error: a: wrong; b: wrong"),
        (PermanentError("no such column"), 3, "error: no such column"),
        (CapacityError("no A100"), 4, "error: no A100"),
        (TransientError("503 from\nhub"), 75, "error: 503 from hub"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset"), 75, "error: Connection reset"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            3,
            "error: No space left on device (/data/x); free space or ask for a larger volume",
        ),
        (KeyError("x"), 1, "error: a bug in this step: KeyError: 'x'"),
    ],
)
def test_an_error_is_an_exit_code_and_one_last_line(
    error: Exception, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(failing(error), "--rows=1") == code
    assert capsys.readouterr().err.splitlines()[-1] == message


def test_a_wrong_flag_is_an_input_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(half, "--rows=many") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: --rows: 'many' is not a whole number"
    )


def test_sigterm_ends_the_step_as_one_to_be_retried(capsys: pytest.CaptureFixture[str]) -> None:
    def run(params: Params, *, progress: Progress) -> Result:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal did not interrupt")

    assert exit_code(run, "--rows=1") == 75
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_help_names_flags_and_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(half, "--help") == 0
    text = capsys.readouterr().out
    assert "--rows VALUE" in text
    assert "train-rows: Half of them." in text
