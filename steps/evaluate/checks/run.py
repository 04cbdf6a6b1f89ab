"""Run the checks of a plan over answered rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from argotune.steps.contracts.checks import (
    AnswerCheck,
    CheckResult,
    ExactMatch,
    Example,
    JsonSchema,
    Judge,
    Regex,
    ToolCall,
    reaches,
)
from argotune.steps.evaluate.checks.calls import score_call
from argotune.steps.evaluate.checks.judge import JudgeClient, JudgeKey
from argotune.steps.evaluate.checks.rows import AnsweredRow, Score, Scorer
from argotune.steps.evaluate.checks.texts import match_exactly, match_pattern, match_schema

MOST_EXAMPLES = 3
_MOST_CHARACTERS = 500
_REQUESTS_AT_ONCE = 8

OpenJudge = Callable[[Judge], contextlib.AbstractContextManager[Scorer]]
"""A judge's scorer while the block runs."""


def run_checks(
    checks: Sequence[AnswerCheck], rows: Sequence[AnsweredRow], *, open_judge: OpenJudge
) -> list[CheckResult]:
    """The results of all checks, in their order.

    Raises TransientError if a judge does not answer, PermanentError if it refuses.
    """
    results = []
    for check in checks:
        if isinstance(check, Judge):
            with open_judge(check) as score, ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
                scores: Sequence[Score | None] = list(threads.map(score, rows))
        else:
            scores = list(map(_scorer(check), rows))
        results.append(_result(check, rows, scores))
    return results


def judge_opener(transport: Callable[[], httpx.BaseTransport], key: JudgeKey | None) -> OpenJudge:
    """Judges that are asked with the API's key through a transport, which checks addresses."""

    @contextlib.contextmanager
    def open_judge(check: Judge) -> Iterator[Scorer]:
        client = JudgeClient(check, transport(), key=key)
        try:
            yield client.score
        finally:
            client.close()
        client.require_scores()

    return open_judge


def _scorer(check: ExactMatch | Regex | JsonSchema | ToolCall) -> Scorer:
    match check:
        case ExactMatch():
            return match_exactly(check)
        case Regex():
            return match_pattern(check)
        case JsonSchema():
            return match_schema(check)
        case ToolCall():
            return score_call


def _result(
    check: AnswerCheck, rows: Sequence[AnsweredRow], scores: Sequence[Score | None]
) -> CheckResult:
    counted = [(row, score) for row, score in zip(rows, scores, strict=True) if score is not None]
    mean = math.fsum(score.value for _, score in counted) / len(counted) if counted else None
    low = sorted(
        (each for each in counted if each[1].value < 1), key=lambda counted: counted[1].value
    )
    return CheckResult(
        name=check.title,
        kind=check.kind,
        score=mean,
        min=check.min,
        passed=reaches(mean, check.min, []),
        rows=len(counted),
        examples=[_example(row, score) for row, score in low[:MOST_EXAMPLES]],
    )


def _example(row: AnsweredRow, score: Score) -> Example:
    return Example(
        prompt=cut(row.prompt),
        reference=cut(row.reference),
        answer=cut(row.answer),
        score=score.value,
        reason=cut(score.reason),
    )


def cut(text: str) -> str:
    """The text as far as a file holds it."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
