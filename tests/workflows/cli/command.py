"""The command as a user calls it: in this process, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from argotune.workflows.cli.main import main

PROJECT_DIR = Path(__file__).parents[3]
_DEADLINE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of stderr, without their `error: `; no traceback may be among them."""
        lines = self.err.splitlines()
        assert all(line.startswith("error: ") for line in lines), self.err
        return [line.removeprefix("error: ") for line in lines]


@dataclass(frozen=True)
class Argotune:
    """The command in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Answer:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main(agreeing(arguments))
        out, err = self.capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return Answer(code=exited.value.code, out=out, err=err)


class Processes:
    """The command in processes of its own; `end` ends the ones that a failed test left."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "argotune.workflows.cli", *agreeing(arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, env=environment(), **{**pipes, **options})
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            with process:
                process.terminate()


def agreeing(arguments: Sequence[object]) -> list[str]:
    """The arguments with --yes, so that `argotune run` does not ask about the tests' workflows."""
    texts = [str(argument) for argument in arguments]
    return [*texts, "--yes"] if texts[:1] == ["run"] else texts


def finish(process: subprocess.Popen[str]) -> Answer:
    """Wait for the process's end."""
    out, err = process.communicate(timeout=_DEADLINE_SECONDS)
    return Answer(code=process.returncode, out=out or "", err=err or "")


def leave(process: subprocess.Popen[str]) -> Answer:
    """Close the pipe from the process, as head does, and wait for its end."""
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    return finish(process)


def environment() -> Mapping[str, str]:
    """This process's, with the project to import from."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again; fail after the deadline."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
