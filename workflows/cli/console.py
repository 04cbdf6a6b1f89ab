"""Rich's console, for text that is printed unchanged."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from argotune.steps.common.printable import printable, wants_plain_text
from argotune.workflows.cli.streams import AS_CODES, PrintableStream

_PIPE_COLUMNS = 120
_STAND_INS = str.maketrans("✔✖○◷‖■…", "+x-~|#.") | dict.fromkeys(range(0x2800, 0x2900), "*")
"""What stands for signs of the tables and spinners where the encoding lacks them, as wide."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Ignore a closed stdout, which must not end a run as it does with rich."""
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render everything that is printed, the parts of a table too."""
        if isinstance(renderable, str):
            renderable = self.render_str(renderable)
        if isinstance(renderable, Text):
            shown = _in_encoding(printable(renderable.plain), self.encoding)
            if shown != renderable.plain:
                # Before the lines are broken: the codes are wider than the characters.
                renderable = renderable.blank_copy(shown)
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _in_encoding(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_STAND_INS).encode(encoding, AS_CODES).decode(encoding)
    return text


def console(*, on_stderr: bool = False) -> Console:
    """Return rich's console on stdout, or stderr, without markup, emoji names or automatic colours.

    It is wide enough for tables when no terminal sets the width, and no terminal where plain text
    is wanted.
    """
    stream: Any = sys.stderr if on_stderr else sys.stdout
    return _Console(
        # What rich writes has been rendered already, with the colours.
        file=stream.stream if isinstance(stream, PrintableStream) else stream,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=False if wants_plain_text() else None,
        width=None if stream.isatty() else _PIPE_COLUMNS,
    )
