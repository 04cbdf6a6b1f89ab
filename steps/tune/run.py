"""The tune step: train the adapter and compare it with the base model on held-out rows."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import check_gpus
from argotune.steps.causal_lm.device import Device, planned_gpus
from argotune.steps.causal_lm.harness import open_task_list
from argotune.steps.common import log
from argotune.steps.common.errors import Interrupted
from argotune.steps.common.exhausted import naming_missing_memory
from argotune.steps.common.fs import atomic_write
from argotune.steps.common.progress import Progress
from argotune.steps.common.values import NOT_MEASURED
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.model_card import ModelCard, thinned
from argotune.steps.contracts.serving import FILE_NAME, rope_choice
from argotune.steps.contracts.start_adapter import DIRECTORY, start_of
from argotune.steps.contracts.steps_of_run import fit_batch
from argotune.steps.contracts.training_plan import Training, TrainingPlan, read_plan
from argotune.steps.tokens.template import ChatTemplate, chat_template
from argotune.steps.tokens.tokenise import Census, check_census
from argotune.steps.tokens.tokenizer import load_tokenizer
from argotune.steps.tune.checkpoint import BaseLoss, Checkpoints, identity_of, load_tensors
from argotune.steps.tune.device import find_device, forget_peak_memory, peak_memory_gb
from argotune.steps.tune.distributed import World, process_count
from argotune.steps.tune.environment import machine_used, versions_used
from argotune.steps.tune.evaluate import held_out_loss
from argotune.steps.tune.export import export_adapter, make_contract
from argotune.steps.tune.extras import check_extras, use_extras
from argotune.steps.tune.facts import facts_of, results_of
from argotune.steps.tune.launch import SPAWN, Context, launch
from argotune.steps.tune.live import LiveLine
from argotune.steps.tune.load import count_kept_blocks, load_model
from argotune.steps.tune.loop import Job, Outcome, mean_loss, train
from argotune.steps.tune.pack import Packs
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.prepare import prepare
from argotune.steps.tune.report import NoReport, Report
from argotune.steps.tune.samples import Samples, make_samples
from argotune.steps.tune.schedule import Schedule
from argotune.steps.tune.shard import shard_base
from argotune.steps.tune.start import begin_with
from argotune.steps.tune.stop import StopRequest, StopTime
from argotune.steps.tune.trackers import check_trackers, open_trackers
from argotune.steps.tune.trial import try_packing

_RESULT = Path("report", "result.json")

_logger = logging.getLogger(__name__)


def run(
    params: Params, *, progress: Progress, context: Context = SPAWN, cuda: Cuda = TORCH
) -> Result:
    """Train the adapter, or resume its training, and compare it with the base model.

    `context` starts the processes if there are several. Raises StepError.
    """
    plan = read_plan(params.plan_file)
    finished = _read_result(params.work_dir, _settings(params, plan))
    if finished is not None:
        log.event(_logger, "finished_before")
        return finished
    check_gpus(planned_gpus(plan), allow_cpu=params.allow_cpu, cuda=cuda)
    check_extras(plan.execution)
    if plan.evaluation.lm_eval_checks:
        # What evaluate would refuse after hours of training.
        open_task_list(plan.evaluation.lm_eval_checks)
    check_trackers(plan.watch)
    processes = process_count(plan.execution.processes)
    work = functools.partial(tune, params, plan, progress)
    if processes == 1:
        return work(World())
    return launch(work, processes, lockstep=plan.execution.shard, context=context)


def tune(params: Params, plan: TrainingPlan, progress: Progress, world: World) -> Result:
    """The work of each process of a run; only the first one writes files."""
    settings = _settings(params, plan)
    start = start_of(params.work_dir, plan.lora.start_from)
    tokenizer = load_tokenizer(params.model_dir)
    template = chat_template(tokenizer, params.model_dir, plan.model.chat_template)
    with world.leader_first():
        source = functools.partial(_prepare_packs, params.work_dir, template, tokenizer)
        packs, census = source("train", plan.training)
        check_census(census, plan.training.max_truncated_share, plan.data.max_rejected_share)
        held_out, _ = source("validation", _whole_batches(plan.training))
        training = fit_batch(plan.training, tokens=packs.tokens, longest=packs.longest)
        schedule = Schedule(training, len(packs), packs.tokens)
        identity = {
            **settings,
            "packs": packs.digest,
            "held-out packs": held_out.digest,
            "steps": f"{schedule.steps}, {schedule.run_steps.per_epoch} per epoch",
        }
        checkpoints = Checkpoints(params.work_dir / "checkpoints", identity)

    checkpoints.check()
    if world.leads:
        _log_steps(schedule)
    rope = rope_choice(
        max(packs.longest, held_out.longest), plan.model.original_max_position_embeddings
    )
    samples = make_samples(plan.watch, held_out, template, tokenizer)
    device = find_device(world.rank)
    with naming_missing_memory("the base model", "method qlora"):
        model = load_model(
            plan, params.model_dir, device, rope, sharded=world.lockstep, leads=world.leads
        )
        if start.digest:
            begin_with(model, params.work_dir / DIRECTORY)
        if world.lockstep:
            shard_base(model, world)
        try_packing(model, device, world)
    loading_gb = peak_memory_gb(device)
    forget_peak_memory(device)
    use_extras(model, plan.execution)
    with StopRequest() as stop, _open_report(params, plan, schedule, world) as report:
        with naming_missing_memory("evaluating the base model", "a smaller max_length"):
            base = _base_loss(model, held_out, samples, device, stop, checkpoints, report, world)
        job = Job(
            model=model,
            world=world,
            device=device,
            training=training,
            schedule=schedule,
            packs=packs,
            held_out=held_out,
            samples=samples,
            checkpoints=checkpoints,
            report=report,
            progress=progress if world.leads else Progress(),
            stop=stop,
            stop_time=StopTime(params.stop_at_file),
            end_after_step=params.end_after_step,
            base=base,
        )
        outcome = train(job)
    result = _result(outcome, job, loading_gb)
    if not world.leads:
        return result
    if outcome.best is not None:
        load_tensors(model, outcome.best)
    contract = make_contract(plan, params.model_dir, template, tokenizer, packs.longest, rope)
    card = ModelCard(
        facts=facts_of(params, plan, schedule.run_steps) | results_of(result),
        train_loss=thinned(report.points("loss")),
        held_out_loss=thinned(report.points("eval_loss")),
    )
    export_adapter(model, params.work_dir / "adapter", contract, card, params.model_dir)
    _write_result(params.work_dir, settings, result, machine_used(device, world.size))
    return result


def _settings(params: Params, plan: TrainingPlan) -> dict[str, str]:
    """What the results depend on. Raises PermanentError for a base of unknown origin."""
    identity = identity_of(plan, params.dataset_digest, base_digest=base_of(params.model_dir)[1])
    start = start_of(params.work_dir, plan.lora.start_from)
    return {**identity, "start adapter": start.digest} if start.digest else identity


def _prepare_packs(
    work_dir: Path, template: ChatTemplate, tokenizer: Any, split: str, training: Training
) -> tuple[Packs, Census]:
    return prepare(
        work_dir / "dataset" / f"{split}.parquet",
        work_dir / "prepared" / f"{split}.arrow",
        template,
        tokenizer,
        training,
    )


def _log_steps(schedule: Schedule) -> None:
    steps = schedule.run_steps
    log.event(
        _logger,
        "steps",
        steps=steps.total,
        per_epoch=steps.per_epoch,
        epochs=round(steps.epochs, 4),
        tokens_per_step=steps.tokens_per_step,
    )
    if problem := steps.warning():
        log.warn(_logger, "few_steps", effect=problem)


def _whole_batches(training: Training) -> Training:
    """For rows that are only measured: as many tokens per forward pass as the plan permits."""
    return msgspec.structs.replace(training, min_steps=None, rows_per_micro_batch=None)


@contextlib.contextmanager
def _open_report(
    params: Params, plan: TrainingPlan, schedule: Schedule, world: World
) -> Iterator[Report]:
    """Yield the run's report and close it in any case; only the leader writes one."""
    if not world.leads:
        yield NoReport()
        return
    directory = params.work_dir / "report"
    directory.mkdir(parents=True, exist_ok=True)
    trackers = [*open_trackers(plan, directory), LiveLine(schedule.steps)]
    title = f"{plan.name}: {plan.model.preset}, {plan.method}"
    report = Report(directory, title, facts_of(params, plan, schedule.run_steps), trackers)
    try:
        yield report
    except BaseException:
        report.close(succeeded=False)
        raise
    report.close(succeeded=True)


def _base_loss(
    model: Any,
    held_out: Packs,
    samples: Samples,
    device: Device,
    stop: StopRequest,
    checkpoints: Checkpoints,
    report: Report,
    world: World,
) -> BaseLoss | None:
    """Held-out loss of the base model, measured once for all attempts of a run."""
    if not len(held_out):
        log.warn(_logger, "no_held_out_rows", effect="base and tuned loss are not measured")
        return None
    known = checkpoints.base_loss()
    if known is not None:
        return known
    began = time.monotonic()
    with model.disable_adapter():
        loss = held_out_loss(model, held_out, device, stop, world)
        if loss is None:
            raise Interrupted(f"stopped by {stop.name or 'a signal'} before the first step")
        answers = samples.answers(model, device, world)
    report.rewind(-1)
    report.add({"step": 0, "eval_loss": loss})
    report.add_answers(0, answers)
    base = BaseLoss(loss=loss, seconds=round(time.monotonic() - began, 3))
    if world.leads:
        checkpoints.keep_base_loss(base)
    log.event(_logger, "evaluation", step=0, eval_loss=loss, model="base")
    return base


def _result(outcome: Outcome, job: Job, loading_gb: float) -> Result:
    position, base = outcome.position, job.base
    tuned_loss = position.last_loss if outcome.best is None else position.best_loss
    return Result(
        base_loss=NOT_MEASURED if base is None else base.loss,
        tuned_loss=NOT_MEASURED if tuned_loss is None else tuned_loss,
        train_loss=mean_loss(position),
        steps=position.step,
        tokens_per_step=job.schedule.run_steps.tokens_per_step,
        warning=job.schedule.run_steps.warning(),
        tokens_per_second=round(outcome.tokens_per_second, 1),
        peak_memory_gb=round(peak_memory_gb(job.device), 3),
        loading_memory_gb=round(loading_gb, 3),
        kept_blocks=count_kept_blocks(job.model.get_base_model()),
        resumed_from_step=outcome.resumed_from_step,
        stopped_early=outcome.stopped_early,
    )


def _write_result(
    work_dir: Path, settings: dict[str, str], result: Result, machine: Mapping[str, str]
) -> None:
    """Write the result file, which marks the step as complete; it is written last."""
    content = {
        "made_from": settings,
        "result": asdict(result),
        "versions": versions_used(),
        "machine": machine,
    }
    text = json.dumps(content, indent=2)
    atomic_write(work_dir / _RESULT, text + "\n")


def _read_result(work_dir: Path, settings: dict[str, str]) -> Result | None:
    """The result of an earlier attempt of the same run, or None if it did not finish."""
    try:
        kept = json.loads((work_dir / _RESULT).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    there = (work_dir / "adapter" / FILE_NAME).exists()
    return Result(**kept["result"]) if there and kept["made_from"] == settings else None
