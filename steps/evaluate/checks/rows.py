"""An answered row, and what one check says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AnsweredRow:
    """A held-out row with a model's answer to its prompt."""

    prompt: str
    """The question, or the turns of the prompt with their roles, as `prompt_of` writes them."""
    reference: str
    """The row's own answer, as the chat template writes it, without its end-of-turn token."""
    answer: str
    """The model's answer in the same form."""
    tools: Sequence[Mapping[str, Any]] | None = None
    """Functions that the prompt offers, in OpenAI's form; None without any."""


@dataclass(frozen=True)
class Score:
    """What a check says of one answer."""

    value: float
    """From 0 to 1."""
    reason: str = ""
    """Why it is below 1."""


Scorer = Callable[[AnsweredRow], Score | None]
"""Scores an answer; None: the check does not apply to the row."""

RIGHT = Score(1.0)


def wrong(reason: str) -> Score:
    """The score of an answer that is wrong for this reason."""
    return Score(0.0, reason)


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The turns before an answer as text: a lone question as it is, others with their roles."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return "\n".join(f"{each['role']}: {each['content'] or ''}" for each in messages)
