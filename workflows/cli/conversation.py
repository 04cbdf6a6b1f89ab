"""A conversation with a served model, and how its answers are shown while they are made."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from argotune.steps.common.counted import counted
from argotune.workflows.cli.chat_client import Ending, Served, stream

_SIDE_BY_SIDE_COLUMNS = 60
"""A terminal that is narrower shows two answers one below the other."""


@dataclass
class Conversation:
    """One model, and what it has been told and has answered."""

    served: Served
    title: str
    """Of the model, beside another one's answer."""
    options: dict[str, Any]
    """Of each request: model, temperature, max_completion_tokens."""
    system: str | None = None
    """The system message that each conversation begins with."""
    turns: list[dict[str, str]] = field(default_factory=list)
    ending: Ending = field(default_factory=Ending)
    """Of the last answer."""

    def ask(self, question: str) -> Generator[str]:
        """Yield the answer in pieces, and remember both when it has ended or was ended.

        A question without any answer is not remembered. Raises CliError.
        """
        asked = {"role": "user", "content": question}
        streamed = stream(self.served, [*self._start(), *self.turns, asked], **self.options)
        self.ending = streamed.ending
        answer: list[str] = []
        try:
            for piece in streamed.pieces:
                answer.append(piece)
                yield piece
        finally:
            if answer or self.ending.finish_reason:
                self.turns += [asked, {"role": "assistant", "content": "".join(answer)}]

    def begin_anew(self) -> None:
        """Forget all turns."""
        self.turns.clear()

    def _start(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.system}] if self.system else []


def show_answers(console: Console, conversations: Sequence[Conversation], question: str) -> None:
    """Ask each model, and print the answers as they come; two of them side by side."""
    if len(conversations) == 1:
        _print_pieces(conversations[0], question)
    elif console.is_terminal and console.width >= _SIDE_BY_SIDE_COLUMNS:
        _print_side_by_side(console, conversations, question)
    else:
        for conversation in conversations:
            print(f"{conversation.title}:")
            _print_pieces(conversation, question)
    for conversation in conversations:
        _tell_cut(conversation)


def _print_pieces(conversation: Conversation, question: str) -> None:
    try:
        with closing(conversation.ask(question)) as pieces:
            for piece in _without_space_around(pieces):
                print(piece, end="", flush=True)
    finally:
        print()


def _without_space_around(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the same text without white space at its two ends."""
    held = ""
    began = False
    for piece in pieces:
        text = held + piece if began else piece.lstrip()
        began = began or bool(text)
        whole = text.rstrip()
        held = text[len(whole) :]
        if whole:
            yield whole


def _print_side_by_side(
    console: Console, conversations: Sequence[Conversation], question: str
) -> None:
    answers = [""] * len(conversations)
    try:
        with Live(console=console, transient=True, auto_refresh=False) as live:
            for at, conversation in enumerate(conversations):
                with closing(conversation.ask(question)) as pieces:
                    for piece in pieces:
                        answers[at] += piece
                        live.update(_columns(conversations, answers), refresh=True)
    finally:
        # The moving part shows no more than a screen of it.
        console.print(_columns(conversations, answers))


def _columns(conversations: Sequence[Conversation], answers: Sequence[str]) -> Table:
    table = Table(expand=True, box=None, padding=(0, 2, 0, 0))
    for conversation in conversations:
        table.add_column(conversation.title, ratio=1, overflow="fold")
    table.add_row(*(Text(answer.strip()) for answer in answers))
    return table


def _tell_cut(conversation: Conversation) -> None:
    if conversation.ending.finish_reason != "length":
        return
    tokens = conversation.ending.tokens
    after = "" if tokens is None else f" after {counted(tokens, 'token')}"
    print(
        f"note: {conversation.title}'s answer was cut{after}; --max-new-tokens asks for a longer"
        " one, as far as the model's context reaches",
        file=sys.stderr,
    )
