from __future__ import annotations

import errno
import logging
import platform
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from argotune.steps.common import log
from argotune.steps.common.errors import CapacityError, ParamsError, PermanentError, TransientError
from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress


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
        main(Params, Result, run, arguments=arguments)  # type: ignore[arg-type]
    assert isinstance(raised.value.code, int)
    return raised.value.code


def test_every_result_field_becomes_a_file(tmp_path: Path) -> None:
    assert exit_code(half, f"--outputs-dir={tmp_path}", "--rows=9") == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "train-rows": "4",
        "digest": "sha256:ab",
        "log": "",
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
            OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x"),
            3,
            "error: Disk quota exceeded (/data/x); free space or raise the quota of this user on "
            "that volume",
        ),
        (
            RuntimeError("Error while serializing: I/O error: File too large (os error 27)"),
            3,
            "error: File too large; the file system or a limit of the process allows no file of "
            "that size",
        ),
        (KeyError("x"), 1, "error: bug in this step: KeyError: 'x'"),
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


def test_log_of_a_failed_step_is_a_result_that_ends_with_its_error(tmp_path: Path) -> None:
    def run(params: Params, *, progress: Progress) -> Result:
        log.event(logging.getLogger("argotune.example"), "rows", read=params.rows)
        raise ParamsError(["a: wrong", "b: wrong"])

    assert exit_code(run, f"--outputs-dir={tmp_path}", "--rows=7") == 2
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "INFO rows read=7",
        "ERROR a: wrong",
        "ERROR b: wrong",
        "ERROR a: wrong; b: wrong",
    ]


def test_the_error_alone_is_the_containers_last_message(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.write_text("of an earlier container")
    wrong = ParamsError(["a: wrong", "b: wrong"])
    assert exit_code(failing(wrong), f"--termination-log={path}", "--rows=7") == 2
    assert path.read_text() == "error: a: wrong; b: wrong"
    assert exit_code(half, f"--termination-log={path}", "--rows=7") == 0
    assert path.read_text() == ""


def test_the_traceback_of_a_bug_is_in_the_log(tmp_path: Path) -> None:
    assert exit_code(failing(KeyError("x")), f"--outputs-dir={tmp_path}", "--rows=7") == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert "Traceback (most recent call last):" in lines
    assert lines[-1].endswith("ERROR bug in this step: KeyError: 'x'")


def test_the_whole_log_of_all_tries_stays_on_the_volume(tmp_path: Path) -> None:
    arguments = (f"--logs-dir={tmp_path}/logs", "--rows=8")
    assert exit_code(failing(TransientError("503")), "--retries=0", *arguments) == 75
    assert exit_code(half, "--retries=1", *arguments) == 0
    lines = (tmp_path / "logs" / "common.log").read_text().splitlines()
    pod = platform.node()
    assert [line.partition(" ")[2] for line in lines] == [
        f"INFO begin pod={pod} attempt=1",
        "ERROR 503",
        f"INFO begin pod={pod} attempt=2",
        "INFO result train_rows=4",
        "INFO result digest=sha256:ab",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)


def test_a_step_below_another_writes_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Params, "__module__", "argotune.steps.plan.side_by_side.params")
    monkeypatch.setitem(sys.modules, Params.__module__, sys.modules[__name__])
    assert exit_code(half, f"--logs-dir={tmp_path}", "--rows=8") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["plan.log"]


def test_tokens_in_urls_are_in_no_message_and_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError("cannot reach https://me:GEHEIM@host/x?sig=GEHEIM")
    arguments = (f"--outputs-dir={tmp_path}/out", f"--logs-dir={tmp_path}", "--rows=1")
    assert exit_code(failing(error), *arguments) == 3
    texts = [capsys.readouterr().err, (tmp_path / "out" / "log").read_text()]
    texts.append((tmp_path / "common.log").read_text())
    assert [text.count("GEHEIM") for text in texts] == [0, 0, 0]
    assert ["cannot reach https://host/x" in text for text in texts] == [True] * 3


def test_a_log_that_cannot_be_kept_does_not_fail_the_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file")
    assert exit_code(half, f"--logs-dir={tmp_path}/logs", "--rows=8") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [f"warning: cannot write log {tmp_path}/logs/common.log: File exists"]


def test_help_names_flags_and_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(half, "--help") == 0
    text = capsys.readouterr().out
    assert "--rows VALUE" in text
    assert "train-rows: Half of them." in text
    assert "log: The last 50 lines of the log if the step failed, else empty." in text


@pytest.mark.parametrize(("namespace", "flag"), [("team-a", "-n team-a "), ("", "")])
def test_commands_for_the_installer_name_the_pods_namespace(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    namespace: str,
    flag: str,
) -> None:
    monkeypatch.setenv("ARGOTUNE_NAMESPACE", namespace)
    error = PermanentError("ask for it by `argotune install --allow-host x:1`")
    assert exit_code(failing(error), "--rows=1") == 3
    assert f"ask for it by `argotune install {flag}--allow-host x:1`" in capsys.readouterr().err
