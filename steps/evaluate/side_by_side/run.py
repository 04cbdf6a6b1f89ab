"""Measure several models with one base on the same rows, and write what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import check_gpus
from argotune.steps.causal_lm.device import find_device, planned_gpus
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.exhausted import naming_missing_memory
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import AnswerCheck, CheckResult
from argotune.steps.contracts.side_by_side import (
    Difference,
    Measured,
    Question,
    SideBySide,
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


def run(params: Params, *, progress: Progress, cuda: Cuda = TORCH) -> Result:
    """Measure the models, and write params.output_file. Raises StepError."""
    plan = read_plan(params.plan_file)
    checks = _read_checks(params.checks_file)
    check_gpus(planned_gpus(plan), allow_cpu=params.allow_cpu, cuda=cuda)
    data = _read_data(params, plan, has_checks=bool(checks))
    device = find_device()
    open_judge = open_judges(params.allowed_hosts, allow_loopback=params.allow_loopback)
    # Names of the user's own may have dots, which PEFT's may not.
    keys = [f"adapter{place}" if each else BASE for place, each in enumerate(params.adapters)]
    adapters = {key: Path(each) for key, each in zip(keys, params.adapters, strict=True) if each}
    losses: list[Losses] = []
    measured: list[Measured] = []
    with naming_missing_memory("evaluating the models", "fewer adapters at once"):
        models = load_adapters(plan, params.model_dir, adapters, device)
        for place, key in enumerate(keys):
            with using(models, key) as model:
                losses.append(
                    row_losses(
                        model, data.rows, device, batch_tokens=plan.training.micro_batch_tokens
                    )
                )
                found = answer_in_batches(
                    model,
                    data.questions,
                    device,
                    most_tokens=params.check_tokens if checks else _ANSWER_TOKENS,
                    stop_token_ids=data.template.stop_token_ids,
                )
            measured.append(
                Measured(
                    name=params.names[place],
                    adapter=params.images[place],
                    loss=mean_loss(losses[-1], data.tokens),
                    difference=_difference(losses, data.tokens, params.confidence),
                    answers=[cut(data.text(each.ids)) for each in found[: params.answers]],
                    checks=_check(checks, data, found, params.check_rows, open_judge),
                )
            )
            progress.update(place + 1, len(keys))
    write_side_by_side(params.output_file, _beside(measured, data, params, plan))
    return Result(rows=len(data.rows))


def _beside(measured: list[Measured], data: Data, params: Params, plan: TrainingPlan) -> SideBySide:
    return SideBySide(
        base=plan.model.title,
        rows=len(data.rows),
        tokens=int(data.tokens.sum()),
        confidence=params.confidence,
        questions=[
            Question(prompt=cut(data.text(each.ids)), reference=cut(data.text(each.reference)))
            for each in data.questions[: params.answers]
        ],
        models=measured,
    )


def _read_checks(path: Path | None) -> list[AnswerCheck]:
    if path is None:
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[AnswerCheck])
    except (OSError, msgspec.DecodeError) as error:
        raise PermanentError(f"{path}: not a list of checks: {error}") from error


def _read_data(params: Params, plan: TrainingPlan, *, has_checks: bool) -> Data:
    wanted = max(params.answers, params.check_rows if has_checks else 0)
    data = read_data(params.rows_file, params.model_dir, plan, questions=wanted)
    if not len(data.rows):
        raise PermanentError("the data have no row from which a loss can be measured")
    return data


def _check(
    checks: Sequence[AnswerCheck],
    data: Data,
    found: Sequence[answers.Answer],
    rows: int,
    open_judge: OpenJudge,
) -> list[CheckResult]:
    return check_answers(
        checks, data.questions[:rows], found[:rows], data.text, open_judge=open_judge
    )


def _difference(losses: Sequence[Losses], tokens: Tokens, confidence: float) -> Difference | None:
    """The last model's gain over the first."""
    first, last = losses[0], losses[-1]
    if len(losses) == 1 or None in (mean_loss(first, tokens), mean_loss(last, tokens)):
        return None
    gain = gain_over(first, last, tokens, confidence)
    return Difference(gain=gain.mean, low=gain.low, high=gain.high)
