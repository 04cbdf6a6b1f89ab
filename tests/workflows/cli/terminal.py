"""A command on a terminal of its own, which a test types on."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.workflows.cli.command import environment

_DEADLINE_SECONDS = 60
_NO_ANSWERS = {"PROMPT_TOOLKIT_NO_CPR": "1"}
"""This terminal does not answer when it is asked where its cursor is."""


@dataclass
class Terminal:
    """The outer end of a terminal."""

    descriptor: int
    process: subprocess.Popen[bytes]
    shown: str = ""
    """What the command wrote and no `read_to` has passed."""

    def write(self, text: str) -> None:
        """Type the text."""
        os.write(self.descriptor, text.encode())

    def read_to(self, text: str) -> None:
        """Read until the command has written the text, after what earlier calls read."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.shown += os.read(self.descriptor, 1 << 16).decode(errors="replace")
        self.shown = self.shown.partition(text)[2]

    def code(self) -> int:
        """Wait for the command's end, and return its exit code."""
        return self.process.wait(timeout=_DEADLINE_SECONDS)


@contextmanager
def on_terminal(*arguments: object) -> Iterator[Terminal]:
    """Start the command; it is killed if it has not ended at the end of the block."""
    outside, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "argotune.workflows.cli", *map(str, arguments)],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        # Its controlling terminal, so that it gets the interrupts.
        preexec_fn=lambda: os.login_tty(inside),
        env={**environment(), "TERM": "xterm", **_NO_ANSWERS},
    ) as process:
        os.close(inside)
        try:
            yield Terminal(outside, process)
        finally:
            process.kill()
            os.close(outside)
