"""The evaluate step: measure base, new adapter and the one in service alike, and judge the new."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import check_gpus
from argotune.steps.causal_lm.device import Device, find_device, planned_gpus
from argotune.steps.common import log
from argotune.steps.common.counted import counted
from argotune.steps.common.exhausted import naming_missing_memory
from argotune.steps.common.fields import text_of
from argotune.steps.common.fs import sha256_file
from argotune.steps.common.progress import Progress
from argotune.steps.common.values import NOT_MEASURED, Measured
from argotune.steps.contracts.checks import CheckResult
from argotune.steps.contracts.evaluation import (
    PASSED,
    REJECTED,
    Comparison,
    Evaluation,
    read_evaluation,
    write_evaluation,
)
from argotune.steps.contracts.live_adapter import LiveAdapter, read_live_adapter
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.scoring import SCORES_NAME, scores_dir
from argotune.steps.contracts.training_plan import TrainingPlan, read_plan
from argotune.steps.evaluate.answers import Answer
from argotune.steps.evaluate.data import Data, held_out_file, read_data
from argotune.steps.evaluate.decide import (
    FEWEST_ROWS,
    Limits,
    Losses,
    Tokens,
    compare,
    decide,
    mean_loss,
)
from argotune.steps.evaluate.harness import (
    LoadedTask,
    TaskScore,
    load_tasks,
    measure_tasks,
    results_of,
    wrap_model,
)
from argotune.steps.evaluate.measure import row_losses
from argotune.steps.evaluate.models import WEIGHTS, Models, Name, comparable_live, load_models
from argotune.steps.evaluate.own_checks import answer_in_batches, check_answers, open_judges
from argotune.steps.evaluate.page import add_to_report
from argotune.steps.evaluate.params import Params, Result
from argotune.steps.evaluate.scored import scored_results, write_answers
from argotune.steps.evaluate.sheets import failures_of, make_sheets

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Measured:
    losses: Losses
    answers: Sequence[Answer]
    check_answers: Sequence[Answer] = ()
    """Only of the new adapter."""
    task_scores: Mapping[str, TaskScore] = field(default_factory=dict)


def run(params: Params, *, progress: Progress, cuda: Cuda = TORCH) -> Result:
    """Judge the adapter in work-dir/adapter, and write work-dir/report/evaluation.json.

    Raises StepError.
    """
    plan = read_plan(params.plan_file)
    if params.part == "answers":
        check_gpus(planned_gpus(plan), allow_cpu=params.allow_cpu, cuda=cuda)
        return _unmeasured(write_answers(params, plan, progress), "undecided")
    if params.gate == "off":
        return _unmeasured(_ungated(plan))
    live = read_live_adapter(params.work_dir) or LiveAdapter()
    made_from = _made_from(params, plan, live)
    found = read_evaluation(params.work_dir)
    if found is None or found.made_from != made_from:
        check_gpus(planned_gpus(plan), allow_cpu=params.allow_cpu, cuda=cuda)
        found = _evaluate(params, plan, live, made_from, progress)
        write_evaluation(params.work_dir, found)
    add_to_report(params.work_dir, found)
    result = _result(found, live)
    log.event(_logger, result.verdict, reason=result.reason)
    for warning in found.warnings:
        log.warn(_logger, "weak-verdict", reason=warning)
    return result


def _ungated(plan: TrainingPlan) -> str:
    left_out = ", nor were the checks of training_config run" if plan.evaluation.checks else ""
    return f"the gate is off, so nothing was measured{left_out}"


def _made_from(params: Params, plan: TrainingPlan, live: LiveAdapter) -> dict[str, str]:
    """All that the result depends on; the paths only say where that is."""
    settings = {
        field.name: text_of(getattr(params, field.name))
        for field in dataclasses.fields(params)
        if not isinstance(getattr(params, field.name), Path)
    }
    return settings | {
        "plan": sha256_file(params.plan_file),
        "base": base_of(params.model_dir)[1],
        "adapter": sha256_file(params.work_dir / "adapter" / WEIGHTS),
        "rows": sha256_file(held_out_file(params.work_dir)),
        "live": f"{live.digest} {live.problem}",
        "scores": " ".join(
            sha256_file(file)
            for each in plan.evaluation.scorers
            if (file := params.work_dir / scores_dir(each.title) / SCORES_NAME).is_file()
        ),
    }


def _evaluate(
    params: Params,
    plan: TrainingPlan,
    live: LiveAdapter,
    made_from: dict[str, str],
    progress: Progress,
) -> Evaluation:
    data = _read_data(params, plan)
    live_dir, note = comparable_live(params.work_dir, live)
    about = Evaluation(
        made_from=made_from,
        verdict=PASSED,
        reason="",
        warnings=[note] if note else [],
        rows=len(data.rows),
        tokens=int(data.tokens.sum()),
        new_loss=None,
        confidence=params.confidence,
        live=f"{live.title} {live.digest}" if live.digest else "",
    )
    if not len(data.rows):
        return _without_rows(about, params, plan)
    scored = scored_results(plan, params.work_dir, params.confidence)
    tasks = load_tasks(plan.evaluation.lm_eval_checks)
    device = find_device()
    with naming_missing_memory("evaluating the adapter", "a smaller max_length"):
        models = load_models(plan, params.model_dir, params.work_dir / "adapter", live_dir, device)
        measured = _measure(models, data, params, plan, device, progress, tasks)
    checks = [
        *_check(plan, measured["new"], data, params),
        *scored,
        *results_of(tasks, {name: each.task_scores for name, each in measured.items()}),
    ]
    for each in checks:
        log.event(_logger, "checked", check=each.name, score=each.score, passed=each.passed)
    return _judged(about, measured, checks, data, params, live)


def _read_data(params: Params, plan: TrainingPlan) -> Data:
    wanted = max(params.answers, plan.evaluation.checked_rows)
    return read_data(held_out_file(params.work_dir), params.model_dir, plan, questions=wanted)


def _without_rows(about: Evaluation, params: Params, plan: TrainingPlan) -> Evaluation:
    reason = "no row was held out, so nothing was measured"
    if plan.evaluation.checks:
        reason += ", and the checks of training_config need answers"
        return msgspec.structs.replace(about, verdict=REJECTED, reason=reason)
    if params.without_rows == "reject":
        reason += ", and without-rows is reject"
        return msgspec.structs.replace(about, verdict=REJECTED, reason=reason)
    return msgspec.structs.replace(about, reason=reason, warnings=[*about.warnings, reason])


def _measure(
    models: Models,
    data: Data,
    params: Params,
    plan: TrainingPlan,
    device: Device,
    progress: Progress,
    tasks: Sequence[LoadedTask],
) -> Mapping[Name, _Measured]:
    """Losses, answers and scores of each model."""
    rows = len(data.rows)
    longest = plan.training.max_length
    wrapped = wrap_model(models.model, params.model_dir, device, longest) if tasks else None
    parts = 2 * rows * len(models.names)

    def reporting(place: int) -> Callable[[int], None]:
        return lambda done: progress.update(2 * rows * place + done, parts)

    measured: dict[Name, _Measured] = {}
    for place, name in enumerate(models.names):
        with models.using(name) as model:
            losses = row_losses(
                model,
                data.rows,
                device,
                batch_tokens=plan.training.micro_batch_tokens,
                on_rows=reporting(place),
            )
            answers = answer_in_batches(
                model,
                data.questions[: params.answers],
                device,
                most_tokens=params.answer_tokens,
                batch_tokens=plan.evaluation.batch_tokens,
                stop_token_ids=data.template.stop_token_ids,
            )
            checked = answer_in_batches(
                model,
                data.questions[: plan.evaluation.checked_rows if name == "new" else 0],
                device,
                most_tokens=plan.evaluation.check_tokens,
                batch_tokens=plan.evaluation.batch_tokens,
                stop_token_ids=data.template.stop_token_ids,
            )
            scores = measure_tasks(tasks, name, wrapped)
        measured[name] = _Measured(
            losses=losses, answers=answers, check_answers=checked, task_scores=scores
        )
        log.event(_logger, "measured", model=name, loss=mean_loss(losses, data.tokens))
        progress.update(2 * rows * (place + 1), parts)
    return measured


def _check(plan: TrainingPlan, new: _Measured, data: Data, params: Params) -> list[CheckResult]:
    return check_answers(
        plan.evaluation.answer_checks,
        data.questions[: plan.evaluation.checked_rows],
        new.check_answers,
        data.text,
        open_judge=open_judges(
            params.allowed_hosts, allow_loopback=params.allow_loopback, ca_file=params.ca_file
        ),
    )


def _judged(
    about: Evaluation,
    measured: Mapping[Name, _Measured],
    checks: Sequence[CheckResult],
    data: Data,
    params: Params,
    live: LiveAdapter,
) -> Evaluation:
    new_loss = mean_loss(measured["new"].losses, data.tokens)
    comparisons = _comparisons(measured, data.tokens, params) if new_loss is not None else []
    sheets = make_sheets(
        data.questions[: params.answers],
        {name: each.answers for name, each in measured.items()},
        data.text,
    )
    decision = decide(
        new_loss,
        comparisons,
        [*failures_of(sheets), *(each.reason for each in checks if not each.passed)],
        rows=len(data.rows),
        live=live.title,
    )
    few = f"too few for an interval: {counted(len(data.rows), 'held-out row')}; the mean decided"
    return msgspec.structs.replace(
        about,
        verdict=decision.verdict,
        reason=decision.reason,
        warnings=[*about.warnings, *([few] if len(data.rows) < FEWEST_ROWS else [])],
        new_loss=new_loss,
        comparisons=comparisons,
        answers=sheets,
        checks=list(checks),
    )


def _comparisons(
    measured: Mapping[Name, _Measured], tokens: Tokens, params: Params
) -> list[Comparison]:
    limits = Limits(
        over_base=params.min_improvement,
        over_live=params.min_improvement_over_live,
        confidence=params.confidence,
    )
    new = measured["new"].losses
    found = [compare("base", measured["base"].losses, new, tokens, limits)]
    if "live" in measured:
        found.append(compare("live", measured["live"].losses, new, tokens, limits))
    return found


def _result(found: Evaluation, live: LiveAdapter) -> Result:
    outcome = "" if found.verdict == PASSED else _outcome(live)
    return Result(
        summary=f"{outcome or PASSED}: {found.reason}",
        verdict=found.verdict,
        reason=found.reason,
        outcome=outcome,
        warning="; ".join(found.warnings),
        base_loss=_measured(found.loss_of("base")),
        new_loss=_measured(found.new_loss),
        live_loss=_measured(found.loss_of("live")),
    )


def _outcome(live: LiveAdapter) -> str:
    if live.digest:
        return f"kept {live.title}"
    return "kept what is in service" if live.problem else "nothing was deployed"


def _unmeasured(reason: str, verdict: Literal["passed", "undecided"] = PASSED) -> Result:
    """The result of an adapter that passes without any look at it, or before it."""
    return Result(
        summary=f"{verdict}: {reason}",
        verdict=verdict,
        reason=reason,
        outcome="",
        warning="",
        base_loss=NOT_MEASURED,
        new_loss=NOT_MEASURED,
        live_loss=NOT_MEASURED,
    )


def _measured(loss: float | None) -> Measured:
    return NOT_MEASURED if loss is None else loss
