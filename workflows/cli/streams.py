"""The streams of commands: stdout and stderr, on which no text controls the terminal.

Printed text comes from data, models, logs, Kubernetes objects and servers' answers. `print` writes
it through these streams; rich's console (`console.py`) adds its colours after them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from typing import Any, TextIO

from argotune.steps.common.printable import printable
from argotune.workflows.engine.errors import naming


class NamedStream:
    """A text stream whose errors name it: of a full disk Python does not say which file it was."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        """Write the text, and return the number of its characters."""
        with naming(self._name):
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with naming(self._name):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PrintableStream:
    """A text stream whose text is made printable."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text, and return the number of its characters."""
        self.stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Make everything printable that is printed within the context."""
    with redirect_stdout(PrintableStream(sys.stdout)), redirect_stderr(PrintableStream(sys.stderr)):
        yield


def named_stdout() -> AbstractContextManager[object]:
    """Let errors of stdout say that it was stdout."""
    return redirect_stdout(NamedStream(sys.stdout, "standard output"))


def open_closed_streams() -> None:
    """Let the streams that the caller has closed, as with `>&-`, lead to nowhere.

    Python has None for them, and the next file that is opened would take their place: a child would
    write its output into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
