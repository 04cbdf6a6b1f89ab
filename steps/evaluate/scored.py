"""The plan's scorers: the answers that they are given, and what their scores mean.

Each program runs in a pod of its own between two parts of this step: `answers` writes the rows, and
the other part reads the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from argotune.steps.causal_lm.device import find_device
from argotune.steps.common.counted import counted
from argotune.steps.common.exhausted import naming_missing_memory
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import CheckResult, Example, Margin, Scorer, reaches
from argotune.steps.contracts.live_adapter import LiveAdapter, read_live_adapter
from argotune.steps.contracts.scoring import Row, Scored, read_rows, read_scores, write_rows
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.evaluate.answers import Question
from argotune.steps.evaluate.checks.rows import prompt_of
from argotune.steps.evaluate.checks.run import MOST_EXAMPLES, cut
from argotune.steps.evaluate.data import held_out_file, read_data
from argotune.steps.evaluate.decide import gain_over
from argotune.steps.evaluate.models import Name, comparable_live, load_models
from argotune.steps.evaluate.own_checks import answer_in_batches, prompt_messages
from argotune.steps.evaluate.params import Params


def write_answers(params: Params, plan: TrainingPlan, progress: Progress) -> str:
    """Write the rows for the plan's scorers, and say how many they are. Raises StepError."""
    scorers = plan.evaluation.scorers
    if not scorers:
        return "the plan has no scorer"
    wanted = {"new"}.union(*(each.wanted_margins for each in scorers))
    rows_file = held_out_file(params.work_dir)
    data = read_data(rows_file, params.model_dir, plan, questions=plan.evaluation.check_rows)
    live = read_live_adapter(params.work_dir) or LiveAdapter()
    live_dir, _ = comparable_live(params.work_dir, live)
    device = find_device()
    texts: dict[Name, Sequence[str]] = {}
    with naming_missing_memory("answering for the scorers", "a smaller check_rows"):
        models = load_models(plan, params.model_dir, params.work_dir / "adapter", live_dir, device)
        names = [name for name in models.names if name in wanted]
        for place, name in enumerate(names):
            with models.using(name) as model:
                found = answer_in_batches(
                    model,
                    data.questions,
                    device,
                    most_tokens=plan.evaluation.check_tokens,
                    batch_tokens=plan.evaluation.batch_tokens,
                    stop_token_ids=data.template.stop_token_ids,
                )
            texts[name] = [data.text(each.ids) for each in found]
            progress.update(place + 1, len(names))
    for scorer in scorers:
        compared = {
            name: text
            for name, text in texts.items()
            if name == "new" or name in scorer.wanted_margins
        }
        rows = [
            _row(place, question, data.text(question.reference), compared)
            for place, question in enumerate(data.questions)
        ]
        write_rows(params.work_dir, scorer.title, rows)
    said = ", ".join(each.title for each in scorers)
    return f"answers to {counted(len(data.questions), 'held-out prompt')} for {said}"


def _row(
    place: int, question: Question, reference: str, texts: Mapping[Name, Sequence[str]]
) -> Row:
    messages: list[dict[str, Any]] = [dict(each) for each in prompt_messages(question)]
    return Row(
        id=str(place),
        messages=messages,
        reference=reference,
        answers={name: each[place] for name, each in texts.items()},
    )


def scored_results(plan: TrainingPlan, work_dir: Path, confidence: float) -> list[CheckResult]:
    """What the plan's scorers found.

    Raises PermanentError for scores that are not those of the rows.
    """
    return [_scored_result(each, work_dir, confidence) for each in plan.evaluation.scorers]


def _scored_result(scorer: Scorer, work_dir: Path, confidence: float) -> CheckResult:
    rows = read_rows(work_dir, scorer.title)
    who = f"check {scorer.title}: scorer {scorer.scorer}"
    return judge_scores(
        scorer, rows, read_scores(work_dir, scorer.title, rows, who=who), confidence
    )


def judge_scores(
    scorer: Scorer, rows: Sequence[Row], scores: Sequence[Scored], confidence: float
) -> CheckResult:
    """Compare the scores of rows, in their order, with the check's bounds.

    `confidence` is that of the intervals of the differences, which decide as those of losses do.
    """
    mean = _mean([each.score for each in scores])
    lowest = min((each.score for each in scores), default=None)
    margins = [
        _margin(name, margin, scores, confidence)
        for name, margin in scorer.wanted_margins.items()
        # No adapter is in service, or none that could answer.
        if rows and name in rows[0].answers
    ]
    low = sorted(zip(rows, scores, strict=True), key=lambda pair: pair[1].score)
    passed = reaches(mean, scorer.min, margins) and reaches(lowest, scorer.min_row, [])
    return CheckResult(
        name=scorer.title,
        kind=scorer.kind,
        score=mean,
        min=scorer.min,
        min_row=scorer.min_row,
        lowest=lowest if scorer.min_row is not None else None,
        passed=passed,
        rows=len(scores),
        margins=margins,
        examples=[_example(*pair) for pair in low[:MOST_EXAMPLES]],
    )


def _margin(
    name: Literal["base", "live"], margin: float, scores: Sequence[Scored], confidence: float
) -> Margin:
    """The scores of another model, which read_scores wants of each row, beside the new ones."""
    new = np.array([each.score for each in scores])
    other = np.array([each.of(name) for each in scores], dtype=np.float64)
    rows = np.ones(len(scores), dtype=np.int64)
    # Of losses the lower one is better, and of scores the higher one.
    gain = gain_over(-other, -new, rows, confidence)
    return Margin(
        against=name,
        score=math.fsum(other) / len(other),
        margin=margin,
        low=gain.low,
        high=gain.high,
    )


def _mean(scores: Sequence[float]) -> float | None:
    return math.fsum(scores) / len(scores) if scores else None


def _example(row: Row, scored: Scored) -> Example:
    return Example(
        prompt=cut(prompt_of(row.messages)),
        reference=cut(row.reference),
        answer=cut(row.answers["new"]),
        score=scored.score,
        reason=cut(scored.note),
    )
