"""The answers of all models side by side, and which of the new adapter's are faulty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from argotune.steps.contracts.evaluation import Answers
from argotune.steps.evaluate.answers import Answer, Question, fault_of
from argotune.steps.evaluate.models import Name

_MOST_CHARACTERS = 4000
"""Of each text in the file."""

Text = Callable[[Sequence[int]], str]
"""Decodes tokens, without special ones."""


def make_sheets(
    questions: Sequence[Question], answers: Mapping[Name, Sequence[Answer]], text: Text
) -> list[Answers]:
    """One sheet for each question, with the answers of all models to it."""
    return [
        Answers(
            prompt=cut(text(question.ids)),
            reference=cut(text(question.reference)),
            base=cut(text(answers["base"][place].ids)),
            new=cut(text(answers["new"][place].ids)),
            live=cut(text(answers["live"][place].ids)) if "live" in answers else None,
            fault=_new_fault(question, {name: each[place] for name, each in answers.items()}, text),
        )
        for place, question in enumerate(questions)
    ]


def failures_of(sheets: Sequence[Answers]) -> list[str]:
    """A clause for each kind of fault that the new adapter's answers have."""
    kinds = [sheet.fault for sheet in sheets if sheet.fault]
    return [
        f"{kinds.count(kind)} of {len(sheets)} of its answers to held-out prompts "
        f"{'is' if kinds.count(kind) == 1 else 'are'} {kind}"
        for kind in dict.fromkeys(kinds)
    ]


def _new_fault(question: Question, answers: Mapping[Name, Answer], text: Text) -> str:
    """The fault of the new adapter's answer that no other model's and no reference has, if any."""
    fault = fault_of(answers["new"], text)
    others = [answer for name, answer in answers.items() if name != "new"]
    others.append(Answer(ids=question.reference, finished=True))
    return "" if fault in [fault_of(answer, text) for answer in others] else fault


def cut(text: str) -> str:
    """Cut a text to what a file holds of it."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
