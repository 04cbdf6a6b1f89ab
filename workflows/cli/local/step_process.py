"""One step of a run in a process of its own, since steps import much."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from argotune.steps.common.errors import ParamsError
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.engine.pods.process_groups import GRACE_SECONDS


def run_step(step: str, flags: Sequence[str]) -> None:
    """Run `python -m argotune.steps.STEP` with these flags. Raises CliError with its error.

    Where the input is wrong by which it was called, that is an InputError.
    """
    with tempfile.TemporaryDirectory() as scratch:
        done = run_to_its_end(
            [sys.executable, "-m", f"argotune.steps.{step}", *flags],
            cwd=scratch,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        is_input = done.returncode == ParamsError.exit_code
        raise (InputError if is_input else CliError)(last.removeprefix("error: "))


def run_to_its_end(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command, with Popen's options.

    When this process is interrupted, the command gets SIGTERM, and SIGKILL after the seconds of
    grace. subprocess.run kills at once, so a step could end neither its own processes nor its
    files.
    """
    process = None
    try:
        with _signals_held():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **options
            )
        output, _ = process.communicate()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, output)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back: an exception within Popen() would leave its process running."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda one, _: came.append(one)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for each in came:
        signal.raise_signal(each)


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_SECONDS)
    finally:
        process.kill()
        process.wait()
