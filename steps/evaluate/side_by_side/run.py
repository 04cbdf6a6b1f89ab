"""Measure several models with one base on the same rows, and write what was found."""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import check_gpus
from argotune.steps.causal_lm.device import find_device, planned_gpus
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.exhausted import naming_missing_memory
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import CheckResult
from argotune.steps.contracts.side_by_side import (
    ComparedModel,
    Difference,
    Measured,
    Question,
    SideBySide,
    adapter_dir,
    dump_in_brief,
    read_models,
    write_side_by_side,
)
from argotune.steps.contracts.training_plan import TrainingPlan, read_plan
from argotune.steps.evaluate import answers
from argotune.steps.evaluate.checks.run import OpenJudge
from argotune.steps.evaluate.data import Data, read_data
from argotune.steps.evaluate.decide import Losses, Tokens, gain_over, mean_loss
from argotune.steps.evaluate.measure import row_losses
from argotune.steps.evaluate.models import BASE, load_adapters, using
from argotune.steps.evaluate.own_checks import answer_in_batches, check_answers, open_judges
from argotune.steps.evaluate.sheets import cut
from argotune.steps.evaluate.side_by_side.params import Params, Result

_ANSWER_TOKENS = 128
_MOST_OUTPUT_BYTES = 100_000
"""Of the output `found`: Argo keeps outputs in the Workflow, of which etcd takes 1.5 MiB."""


def run(params: Params, *, progress: Progress, cuda: Cuda = TORCH) -> Result:
    """Measure the models, and write what was found on the volume. Raises StepError."""
    plan = read_plan(params.plan_file)
    models = read_models(params.work_dir)
    check_gpus(planned_gpus(plan), allow_cpu=params.allow_cpu, cuda=cuda)
    data = _read_data(params, plan)
    found = _beside(_measure(models, data, params, plan, progress), data, params, plan)
    write_side_by_side(params.work_dir, found)
    return Result(
        summary="; ".join(map(_summary, found.models)),
        found=dump_in_brief(found, most_bytes=_MOST_OUTPUT_BYTES),
    )


def _measure(
    models: Sequence[ComparedModel],
    data: Data,
    params: Params,
    plan: TrainingPlan,
    progress: Progress,
) -> list[Measured]:
    device, checks = find_device(), plan.evaluation.answer_checks
    open_judge = open_judges(
        params.allowed_hosts, allow_loopback=params.allow_loopback, ca_file=params.ca_file
    )
    # Names of the user's own may have dots, which PEFT's may not.
    keys = [f"adapter{place}" if each.image else BASE for place, each in enumerate(models)]
    adapters = {
        key: adapter_dir(params.work_dir, each.image)
        for key, each in zip(keys, models, strict=True)
        if each.image
    }
    losses: list[Losses] = []
    measured: list[Measured] = []
    with naming_missing_memory("evaluating the models", "fewer adapters at once"):
        loaded = load_adapters(plan, params.model_dir, adapters, device)
        for place, key in enumerate(keys):
            with using(loaded, key) as model:
                losses.append(
                    row_losses(
                        model, data.rows, device, batch_tokens=plan.training.micro_batch_tokens
                    )
                )
                found = answer_in_batches(
                    model,
                    data.questions,
                    device,
                    most_tokens=plan.evaluation.check_tokens if checks else _ANSWER_TOKENS,
                    batch_tokens=plan.evaluation.batch_tokens,
                    stop_token_ids=data.template.stop_token_ids,
                )
            measured.append(
                Measured(
                    name=models[place].name,
                    adapter=models[place].image,
                    loss=mean_loss(losses[-1], data.tokens),
                    difference=_difference(losses, data.tokens, params.confidence),
                    answers=[cut(data.text(each.ids)) for each in found[: params.shown_answers]],
                    checks=_check(plan, data, found, open_judge),
                )
            )
            progress.update(place + 1, len(keys))
    return measured


def _beside(measured: list[Measured], data: Data, params: Params, plan: TrainingPlan) -> SideBySide:
    return SideBySide(
        base=plan.model.title,
        rows=len(data.rows),
        tokens=int(data.tokens.sum()),
        confidence=params.confidence,
        questions=[
            Question(prompt=cut(data.text(each.ids)), reference=cut(data.text(each.reference)))
            for each in data.questions[: params.shown_answers]
        ],
        models=measured,
    )


def _read_data(params: Params, plan: TrainingPlan) -> Data:
    rows = params.work_dir / "dataset" / "train.parquet"
    wanted = max(params.shown_answers, plan.evaluation.checked_rows)
    data = read_data(rows, params.model_dir, plan, questions=wanted)
    if not len(data.rows):
        raise PermanentError("the data have no row from which a loss can be measured")
    return data


def _check(
    plan: TrainingPlan, data: Data, found: Sequence[answers.Answer], open_judge: OpenJudge
) -> list[CheckResult]:
    rows = plan.evaluation.check_rows
    return check_answers(
        plan.evaluation.answer_checks,
        data.questions[:rows],
        found[:rows],
        data.text,
        open_judge=open_judge,
    )


def _difference(losses: Sequence[Losses], tokens: Tokens, confidence: float) -> Difference | None:
    """The last model's gain over the first."""
    first, last = losses[0], losses[-1]
    if len(losses) == 1 or None in (mean_loss(first, tokens), mean_loss(last, tokens)):
        return None
    gain = gain_over(first, last, tokens, confidence)
    return Difference(gain=gain.mean, low=gain.low, high=gain.high)


def _summary(model: Measured) -> str:
    loss = "not finite" if model.loss is None else f"{model.loss:.4f}"
    better = model.difference
    return f"{model.name} {loss}" + ("" if better is None else f", better by {better.gain:+.4f}")
