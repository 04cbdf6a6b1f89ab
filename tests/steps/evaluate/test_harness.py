"""Tasks of the real lm-eval, from a file of the test, on a tuned, tiny model."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from argotune.steps.causal_lm import harness as task_list
from argotune.steps.causal_lm.harness import open_task_list, refuse_unknown
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import CheckResult, LmEval
from argotune.steps.contracts.evaluation import Evaluation, read_evaluation
from argotune.steps.contracts.training_plan import Evaluation as Plan
from argotune.steps.contracts.training_plan import read_plan, write_plan
from argotune.steps.evaluate import harness
from argotune.steps.evaluate.harness import LoadedTask, TaskScore, load_tasks, results_of
from argotune.steps.evaluate.params import Params
from argotune.steps.evaluate.run import run

TASK = """\
task: numbers
dataset_path: json
dataset_kwargs:
  data_files: {{test: {rows}}}
  cache_dir: {cache}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: right
metric_list:
  - metric: acc
  - metric: brier_score
    higher_is_better: false
"""


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """lm-eval's own, with one task of three rows."""
    directory = tmp_path_factory.mktemp("tasks")
    rows = directory / "rows.jsonl"
    questions = (
        {"question": f"{number}?", "choices": [str(number), "no"], "right": 0}
        for number in range(3)
    )
    rows.write_text("".join(json.dumps(question) + "\n" for question in questions))
    text = TASK.format(rows=rows, cache=directory / "cache")
    (directory / "numbers.yaml").write_text(text)
    with warnings.catch_warnings():
        # Importing lm-eval warns of what its own packages do.
        warnings.simplefilter("ignore")
        from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(directory), include_defaults=False)


def evaluate(work_dir: Path, model_dir: Path, check: LmEval) -> Evaluation:
    plan = read_plan(work_dir / "plan.yaml")
    own = msgspec.structs.replace(plan, evaluation=Plan(checks=[check]))
    write_plan(work_dir / "plan.yaml", own)
    params = Params(
        plan_file=work_dir / "plan.yaml", model_dir=model_dir, work_dir=work_dir, answers=0
    )
    run(params, progress=Progress())
    return read_evaluation(work_dir) or pytest.fail("no evaluation.json")


def test_adapter_that_is_better_by_loss_is_rejected_by_a_task(
    manager: Any, work_dir: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "open_task_list", lambda checks: manager)
    check = LmEval(name="counts", tasks=["numbers"], min_improvement=1.5, limit=2)
    found = evaluate(work_dir, model_dir, check)
    [result] = found.checks
    # No share is higher by more than 1 than another.
    assert found.verdict == "rejected"
    assert (result.name, result.rows, result.passed) == ("counts numbers", 2, False)
    assert [margin.against for margin in result.margins] == ["base"]
    assert found.reason == result.reason
    assert result.score in (0, 0.5, 1)


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (
            LmEval(tasks=["numbers"], metric="f1", min=0.5),
            "check lm_eval: numbers has no metric f1; it has acc, brier_score",
        ),
        (
            LmEval(tasks=["numbers"], metric="brier_score", min=0.5),
            "check lm_eval: metric brier_score of numbers is better when it is lower",
        ),
        (LmEval(tasks=["letters"], min=0.5), "check lm_eval: letters cannot be loaded: "),
    ],
)
def test_task_that_gives_no_verdict_is_refused_before_it_is_measured(
    manager: Any, check: LmEval, problem: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        load_tasks([check], manager)
    assert str(caught.value).startswith(problem)


def test_rows_that_cannot_be_fetched_are_asked_for_again() -> None:
    def load(names: list[str]) -> None:
        raise ConnectionError("no route to the Hub")

    with pytest.raises(TransientError, match="the rows of arc_easy cannot be fetched: no route"):
        load_tasks([LmEval(tasks=["arc_easy"], min=0.5)], SimpleNamespace(load=load))


def test_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_list.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PermanentError, match="make images STEPS=tune EXTRAS=lm-eval"):
        open_task_list([LmEval(tasks=["arc_easy"], min=0.5)])


def test_without_tasks_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.evaluator", None)
    assert load_tasks([]) == []
    assert harness.measure_tasks([], "new", None) == {}


def test_unknown_tasks_are_named_with_the_nearest() -> None:
    checks = [LmEval(tasks=["arc_eazy", "arc_easy", "zzz"], min=0.5)]
    with pytest.raises(PermanentError) as caught:
        refuse_unknown(checks, tasks=["arc_easy", "arc_challenge"])
    assert str(caught.value) == (
        "check lm_eval: 'arc_eazy' is no task or group of lm-eval; did you mean arc_easy?; "
        "check lm_eval: 'zzz' is no task or group of lm-eval; `lm-eval ls tasks` lists them"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metric_that_is_no_finite_number_is_refused(value: float) -> None:
    check = LmEval(tasks=["numbers"], min=0.5)
    found = {
        "results": {"numbers": {"acc,none": value}},
        "n-samples": {"numbers": {"effective": 3}},
    }
    with pytest.raises(PermanentError, match=f"metric 'acc' of numbers is {value}, which is no"):
        harness._score(LoadedTask(check=check, name="numbers", loaded={}), found)


def test_each_task_is_compared_with_each_model_that_its_check_names() -> None:
    check = LmEval(name="exams", tasks=["a"], min=0.5, min_improvement=0.2)
    live = LmEval(name="again", tasks=["a"], min_improvement_over_live=-0.1)
    tasks = [LoadedTask(check=each, name="a", loaded=None) for each in (check, live)]

    def results(new: float, **others: float) -> list[CheckResult]:
        scores = {"new": new, **others}
        return results_of(
            tasks,
            {  # type: ignore[arg-type]
                name: {task.title: TaskScore(score, 10) for task in tasks}
                for name, score in scores.items()
            },
        )

    assert [each.passed for each in results(0.6, base=0.4, live=0.7)] == [True, True]
    assert [each.passed for each in results(0.6, base=0.41, live=0.71)] == [False, False]
    assert [each.passed for each in results(0.4, base=0.1)] == [False, True]
    assert [each.reason for each in results(0.6, base=0.5, live=0.75)] == [
        "check exams a scores 0.6 on 10 rows, which reaches 0.5, 0.1 above that of the base model, "
        "where at least 0.2 above is wanted",
        "check again a scores 0.6 on 10 rows, 0.15 below that of the adapter in service, where at "
        "least -0.1 above is wanted",
    ]
