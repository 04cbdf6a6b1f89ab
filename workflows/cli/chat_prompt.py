"""The line in which a conversation's questions are written, on a terminal."""

from __future__ import annotations

import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output


def prompt_session() -> PromptSession[str]:
    """Return an editor of questions: cursor keys bring earlier ones, pasted lines stay together.

    Enter sends the question; Alt-Enter begins a new line.
    """
    keys = KeyBindings()
    keys.add("enter")(_send)
    keys.add("escape", "enter")(_begin_line)
    return PromptSession(
        # The stream itself: what is printed through sys.stdout loses its escape sequences.
        output=create_output(sys.__stdout__),
        multiline=True,
        key_bindings=keys,
        prompt_continuation="  ",
    )


def _send(event: KeyPressEvent) -> None:
    event.current_buffer.validate_and_handle()


def _begin_line(event: KeyPressEvent) -> None:
    event.current_buffer.insert_text("\n")
