"""Where commands print: stdout and stderr, on which no text steers the terminal.

What is printed comes from data, models, logs, Kubernetes objects and servers' answers. `print`
writes it through these streams; rich's console (`console.py`) adds its colours behind them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from argotune.steps.common.printable import printable


class PrintableStream:
    """A text stream whose text is made printable."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text, and return the number of characters that were given."""
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
    """Make printable what is printed meanwhile."""
    with redirect_stdout(PrintableStream(sys.stdout)), redirect_stderr(PrintableStream(sys.stderr)):
        yield
