"""Answers for a scorer, and the verdict by its scores, on a tuned, tiny model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import Scorer
from argotune.steps.contracts.evaluation import read_evaluation
from argotune.steps.contracts.scoring import SCORES_NAME, Row, Scored, read_rows, scores_dir
from argotune.steps.contracts.training_plan import Evaluation as Plan
from argotune.steps.contracts.training_plan import read_plan, write_plan
from argotune.steps.evaluate.params import Params
from argotune.steps.evaluate.run import run
from argotune.steps.evaluate.scored import judge_scores

SCORER = Scorer(scorer="tone", min=0.5, min_improvement=0.2)


def params(work_dir: Path, model_dir: Path, *scorers: Scorer) -> Params:
    plan = read_plan(work_dir / "plan.yaml")
    own = Plan(checks=list(scorers), check_rows=4, check_tokens=3)
    write_plan(work_dir / "plan.yaml", msgspec.structs.replace(plan, evaluation=own))
    return Params(
        plan_file=work_dir / "plan.yaml", model_dir=model_dir, work_dir=work_dir, answers=0
    )


def test_scores_of_its_answers_decide_of_each_scorer(work_dir: Path, model_dir: Path) -> None:
    whole = params(work_dir, model_dir, SCORER, Scorer(scorer="tone", name="curt", min=0.1))
    asked = run(dataclasses.replace(whole, part="answers"), progress=Progress())
    assert (asked.verdict, asked.reason) == (
        "undecided",
        "answers to 4 held-out prompts for tone, curt",
    )
    rows = read_rows(work_dir, "tone")
    assert [row.answers.keys() for row in rows] == [{"new", "base"}] * 4
    assert rows[0].messages[-1]["role"] == "user"
    # It compares with no other model.
    assert [row.answers.keys() for row in read_rows(work_dir, "curt")] == [{"new"}] * 4
    write(work_dir, "curt", [{"id": row.id, "score": 0.2} for row in rows])
    with pytest.raises(PermanentError, match="check tone: scorer tone ended without the file"):
        run(whole, progress=Progress())
    for score, verdict in ((0.9, "passed"), (0.6, "rejected")):
        write(work_dir, "tone", [{"id": row.id, "score": score, "base_score": 0.5} for row in rows])
        # Other scores are measured anew.
        assert run(whole, progress=Progress()).verdict == verdict
    found = read_evaluation(work_dir)
    assert found is not None
    assert [(each.name, each.passed) for each in found.checks] == [("tone", False), ("curt", True)]
    assert found.reason == (
        "check tone scores 0.6 on 4 rows, which reaches 0.5, 0.1 above that of the base model, "
        "where at least 0.2 above is wanted"
    )


def write(work_dir: Path, check: str, scores: list[dict[str, object]]) -> None:
    path = work_dir / scores_dir(check) / SCORES_NAME
    path.write_text("".join(json.dumps(each) + "\n" for each in scores))


def judged(scorer: Scorer, *scores: tuple[float, float]) -> tuple[bool, str]:
    rows = [
        Row(
            id=str(place),
            messages=[{"role": "user", "content": "Q"}],
            reference="R",
            answers={"new": "A", "live": "B"},
        )
        for place in range(len(scores))
    ]
    lines = [
        Scored(id=row.id, score=new, live_score=live)
        for row, (new, live) in zip(rows, scores, strict=True)
    ]
    result = judge_scores(scorer, rows, lines, 0.95)
    return result.passed, result.reason


def test_mean_lowest_row_and_margin_each_decide() -> None:
    scorer = Scorer(scorer="tone", min=2, min_row=1, min_improvement_over_live=0)
    assert judged(scorer, (3, 2), (1, 2)) == (
        True,
        "check tone scores 2 on 2 rows, which reaches 2, and 1 on the lowest, which reaches 1, "
        "0 above that of the adapter in service, where at least 0 above is wanted",
    )
    assert not judged(scorer, (2.9, 1), (1, 1))[0]
    assert not judged(scorer, (9, 1), (0.9, 1))[0]
    assert not judged(scorer, (3, 3), (3, 4))[0]
    # There are no rows without held-out ones.
    assert not judged(scorer)[0]


def test_the_lower_end_of_the_rows_differences_decides_over_another_model() -> None:
    scorer = Scorer(scorer="tone", min_improvement_over_live=0)
    # Its mean is higher by one of eight rows.
    unsure = [(1.0, 0.0)] * 4 + [(0.0, 1.0)] * 3 + [(1.0, 1.0)]
    passed, reason = judged(scorer, *unsure)
    assert not passed
    assert reason == (
        "check tone scores 0.625 on 8 rows, 0.125 above that of the adapter in service"
        " (interval -0.5 to 0.75), where its lower end has to be at least 0"
    )
    assert judged(scorer, *[(1.0, 0.0)] * 4, *[(1.0, 1.0)] * 4)[0]
    assert judged(scorer, *[(0.3, 0.3)] * 8)[0]
    assert not judged(Scorer(scorer="tone", min_improvement_over_live=0.1), *[(0.3, 0.3)] * 8)[0]


def test_margin_over_an_adapter_that_is_not_there_is_not_asked() -> None:
    row = Row(id="0", messages=[], reference="", answers={"new": ""})
    scorer = Scorer(scorer="tone", min_improvement_over_live=5)
    result = judge_scores(scorer, [row], [Scored(id="0", score=1)], 0.95)
    assert (result.passed, result.margins) == (True, [])
