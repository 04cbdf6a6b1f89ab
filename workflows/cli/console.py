"""Where commands print: stdout, wide enough for tables when no terminal sets the width."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPE_COLUMNS = 120


def console() -> Console:
    """Rich's console without its guesses at what to colour in plain text."""
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    return Console(highlight=False, width=width)
