"""Where commands print: stdout, wide enough for tables when no terminal sets the width."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPE_COLUMNS = 120


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """A reader that has left must not end a run, as rich would."""
        raise BrokenPipeError


def console() -> Console:
    """Rich's console without its guesses at what to colour in plain text."""
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    return _Console(highlight=False, width=width)
