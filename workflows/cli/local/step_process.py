"""One step of a run in a process of its own, since steps import much."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence

from argotune.steps.common.errors import ParamsError
from argotune.workflows.cli.errors import CliError, InputError


def run_step(step: str, flags: Sequence[str]) -> None:
    """Run `python -m argotune.steps.STEP` with these flags. Raises CliError with its error.

    Where the input is wrong by which it was called, that is an InputError.
    """
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-m", f"argotune.steps.{step}", *flags],
            cwd=scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        is_input = done.returncode == ParamsError.exit_code
        raise (InputError if is_input else CliError)(last.removeprefix("error: "))
