"""The streams of commands: stdout and stderr, on which no text controls the terminal.

Printed text comes from data, models, logs, Kubernetes objects and servers' answers. `print` writes
it through these streams; rich's console (`console.py`) adds its colours after them.
"""

from __future__ import annotations

import codecs
import io
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

AS_CODES = "argotune-codes"
"""Name of the error handler that writes what an encoding lacks as codes."""


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


def write_any_character() -> None:
    """Let the streams write what their encoding lacks, such as ✔ in Latin-1, as codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_CODES)


def _codes_of(error: UnicodeError) -> tuple[str, int]:
    r"""Replace characters by codes such as \u2714, which JSON reads as the same characters."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs), error.end


codecs.register_error(AS_CODES, _codes_of)


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
