"""The plan's checks by lm-eval: its tasks on the models that are loaded already.

Every task is loaded with its rows before anything is measured, and all that can be refused is
refused then. The rows come from the Hub, where datasets keeps them below HF_HOME. Tasks that run
code of a model's answer, which lm-eval marks as unsafe, are refused.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.causal_lm.device import Device
from argotune.steps.causal_lm.harness import open_task_list
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.printable import printable
from argotune.steps.contracts.checks import CheckResult, LmEval, Margin, reaches
from argotune.steps.evaluate.models import Name
from argotune.steps.tokens.tokenizer import load_tokenizer

_BATCH_ROWS = 8
"""The logits of all their tokens are in memory at once."""
_FEWSHOT_SEED = 1234
"""lm-eval's own default."""


@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """A task or group with its rows."""

    check: LmEval
    name: str
    loaded: Any
    """lm-eval's TaskDict."""

    @property
    def title(self) -> str:
        """What results call it."""
        return f"{self.check.title} {self.name}"


@dataclass(frozen=True)
class TaskScore:
    """What one model scores in a task."""

    value: float
    rows: int


def load_tasks(checks: Sequence[LmEval], manager: Any = None) -> list[LoadedTask]:
    """Load the tasks of all checks; `manager` is lm-eval's, if there is one already.

    Raises PermanentError for a task that cannot be measured or has no such metric, TransientError
    where its rows cannot be fetched.
    """
    if not checks:
        return []
    manager = manager or open_task_list(checks)
    return [_load(manager, check, name) for check in checks for name in check.tasks]


def _load(manager: Any, check: LmEval, name: str) -> LoadedTask:
    try:
        loaded = manager.load([name])
    except (ConnectionError, TimeoutError) as error:
        raise TransientError(
            f"check {check.title}: the rows of {name} cannot be fetched: {_said(error)}; tasks "
            "need the Hub, or its files below HF_HOME"
        ) from error
    except Exception as error:
        # Tasks are code of their own, which raises whatever it likes.
        raise PermanentError(
            f"check {check.title}: {name} cannot be loaded: {type(error).__name__}: {_said(error)}"
        ) from error
    task = LoadedTask(check=check, name=name, loaded=loaded)
    problems = [problem for each in loaded["tasks"].items() for problem in _problems(check, *each)]
    if problems:
        raise PermanentError("; ".join(f"check {check.title}: {problem}" for problem in problems))
    for each in loaded["tasks"].values():
        _set_examples(each, check.num_fewshot)
    return task


def _problems(check: LmEval, name: str, task: Any) -> Iterator[str]:
    if getattr(task, "UNSAFE_CODE", False):
        yield f"{name} runs code that the model writes, which no step does"
    if getattr(task, "MULTIMODAL", False):
        yield f"{name} has pictures or sounds, and the model reads text alone"
    metric = check.metric.partition(",")[0]
    is_higher_better = {_metric_name(key): value for key, value in task.higher_is_better().items()}
    if metric not in is_higher_better:
        yield f"{name} has no metric {metric}; it has {', '.join(sorted(is_higher_better))}"
    elif not is_higher_better[metric]:
        yield (
            f"metric {metric} of {name} is better when it is lower; name one that is better when it"
            " is higher"
        )
    if check.num_fewshot and task.get_config("num_fewshot") == 0:
        yield f"{name} takes no examples; remove num_fewshot"


def _metric_name(metric: Any) -> str:
    """A metric's name; those of a task's own are functions."""
    return str(getattr(metric, "__name__", metric))


def _set_examples(task: Any, wanted: int | None) -> None:
    if wanted is not None or task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=wanted or 0)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)


def wrap_model(model: Any, model_dir: Path, device: Device, max_length: int) -> Any:
    """The model as lm-eval's HFLM; who switches its adapters switches those of this one."""
    hflm: Any = importlib.import_module("lm_eval.models.huggingface").HFLM
    return hflm(
        pretrained=model,
        backend="causal",
        # lm-eval gives it a padding token.
        tokenizer=load_tokenizer(model_dir),
        max_length=max_length,
        batch_size=_BATCH_ROWS,
        mixed_precision_dtype=device.autocast,
    )


def measure_tasks(tasks: Sequence[LoadedTask], name: Name, wrapped: Any) -> dict[str, TaskScore]:
    """Scores of the model, as which the wrapped one is switched now, by the tasks' titles.

    Only tasks that ask for this model are measured. Raises PermanentError for a metric without a
    value.
    """
    wanted = [task for task in tasks if name == "new" or name in task.check.wanted_margins]
    if not wanted:
        return {}
    evaluate: Any = importlib.import_module("lm_eval.evaluator").evaluate
    scores = {}
    for task in wanted:
        found = evaluate(
            lm=wrapped,
            task_dict=task.loaded,
            limit=task.check.limit,
            bootstrap_iters=0,
            log_samples=False,
        )
        scores[task.title] = _score(task, found)
    return scores


def _score(task: LoadedTask, found: Mapping[str, Any]) -> TaskScore:
    results = found["results"].get(task.name, {})
    metric = task.check.metric
    # METRIC,FILTER; a name without a filter stands for the only one.
    keys = [key for key in results if metric in (key, key.partition(",")[0])]
    values = [results[key] for key in keys]
    if len(values) != 1 or not isinstance(values[0], int | float):
        known = sorted(key for key in results if "," in key and "_stderr," not in key)
        raise PermanentError(
            f"check {task.check.title}: metric {metric!r} is not one value of {task.name}; name "
            f"one of {', '.join(known) or 'its tasks in place of the group'}"
        )
    if not math.isfinite(values[0]):
        raise PermanentError(
            f"check {task.check.title}: metric {metric!r} of {task.name} is {values[0]}, which is"
            " no score; name another metric, or remove the task"
        )
    rows = sum(int(each["effective"]) for each in found["n-samples"].values())
    return TaskScore(float(values[0]), rows)


def results_of(
    tasks: Sequence[LoadedTask], scores: Mapping[Name, Mapping[str, TaskScore]]
) -> list[CheckResult]:
    """The result of each task, from the scores of each model."""
    return [_result(task, scores) for task in tasks]


def _result(task: LoadedTask, scores: Mapping[Name, Mapping[str, TaskScore]]) -> CheckResult:
    new = scores["new"][task.title]
    margins = [
        Margin(against=name, score=scores[name][task.title].value, margin=margin)
        for name, margin in task.check.wanted_margins.items()
        if name in scores
    ]
    return CheckResult(
        name=task.title,
        kind=task.check.kind,
        score=new.value,
        min=task.check.min,
        passed=reaches(new.value, task.check.min, margins),
        rows=new.rows,
        margins=margins,
    )


def _said(error: Exception) -> str:
    return printable((str(error).strip().splitlines() or ["no reason given"])[0][:300])
