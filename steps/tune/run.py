"""The tune step: from checked messages to an adapter that is known to be better, or not."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from steps.common import log
from steps.common.errors import Interrupted, PermanentError
from steps.common.fs import atomic_write
from steps.common.progress import Progress
from steps.common.serving import FILE_NAME, rope_choice
from steps.common.training_plan import read_plan
from steps.tune.checkpoint import Checkpoints, identity_of, load_tensors
from steps.tune.device import Device, find_device, peak_memory_gb
from steps.tune.evaluate import held_out_loss
from steps.tune.export import export_adapter, make_contract
from steps.tune.load import load_model, load_tokenizer
from steps.tune.loop import Job, Outcome, mean_loss, train
from steps.tune.pack import Packs, pack
from steps.tune.params import Params, Result
from steps.tune.report import Report
from steps.tune.schedule import Schedule
from steps.tune.stop import StopRequest
from steps.tune.template import chat_template
from steps.tune.tokenise import check_census, read_rows

_RESULT = Path("report", "result.json")

_logger = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress) -> Result:
    """Train the adapter, or go on with it, and measure it against the base model."""
    plan = read_plan(params.plan_file)
    settings = identity_of(plan, params.dataset_digest)
    finished = _finished_result(params.work_dir, settings)
    if finished is not None:
        log.event(_logger, "finished_before")
        return finished

    tokenizer = load_tokenizer(params.model_dir)
    template = chat_template(tokenizer, params.model_dir, plan.model.chat_template)
    dataset = params.work_dir / "dataset"
    length = plan.training.max_length
    rows, census = read_rows(dataset / "train.parquet", template, tokenizer, length)
    check_census(census, plan.training.max_truncated_share, plan.data.max_rejected_share)
    held_out_rows, _ = read_rows(dataset / "validation.parquet", template, tokenizer, length)
    packs = pack(rows, plan.training.micro_batch_tokens)
    held_out = pack(held_out_rows, plan.training.micro_batch_tokens)
    identity = {**settings, "packs": packs.digest, "held-out packs": held_out.digest}
    checkpoints = Checkpoints(params.work_dir / "checkpoints", identity)

    checkpoints.check()

    rope = rope_choice(
        max(rows.longest, held_out_rows.longest), plan.model.original_max_position_embeddings
    )
    device = find_device()
    model = load_model(plan, params.model_dir, device, rope)
    report = Report(params.work_dir / "report")
    with StopRequest() as stop:
        base_loss = _base_loss(model, held_out, device, stop, checkpoints, report)
        job = Job(
            model=model,
            device=device,
            training=plan.training,
            schedule=Schedule(plan.training, len(packs)),
            packs=packs,
            held_out=held_out,
            checkpoints=checkpoints,
            report=report,
            progress=progress,
            stop=stop,
            base_loss=base_loss,
        )
        outcome = _train(job, f"{plan.name}: {plan.model.preset}, {plan.method}")
    if outcome.best is not None:
        load_tensors(model, outcome.best)
    contract = make_contract(plan, template, tokenizer, rows.longest, rope)
    export_adapter(model, params.work_dir / "adapter", plan, contract, params.model_dir)
    result = _result(outcome, base_loss, device)
    _keep_result(params.work_dir, settings, result)
    return result


def _base_loss(
    model: Any,
    held_out: Packs,
    device: Device,
    stop: StopRequest,
    checkpoints: Checkpoints,
    report: Report,
) -> float | None:
    """Held-out loss of the base model, measured once for all tries of a run."""
    if not len(held_out):
        log.warn(_logger, "no_held_out_rows", effect="base and tuned loss are not measured")
        return None
    known = checkpoints.base_loss()
    if known is not None:
        return known
    with model.disable_adapter():
        loss = held_out_loss(model, held_out, device, stop)
    if loss is None:
        raise Interrupted(f"stopped by {stop.name} before the first step")
    checkpoints.keep_base_loss(loss)
    report.rewind(-1)
    report.add({"step": 0, "eval_loss": loss})
    log.event(_logger, "evaluation", step=0, eval_loss=loss, model="base")
    return loss


def _train(job: Job, title: str) -> Outcome:
    try:
        return train(job)
    except torch.cuda.OutOfMemoryError as error:
        raise PermanentError(
            f"the GPU's memory does not hold micro-batches of {job.training.micro_batch_tokens} "
            f"tokens with gradient_checkpointing {job.training.gradient_checkpointing}; "
            "take a smaller max_length or a GPU with more memory"
        ) from error
    finally:
        job.report.plot(title)


def _result(outcome: Outcome, base_loss: float | None, device: Device) -> Result:
    position = outcome.position
    tuned_loss = position.last_loss if outcome.best is None else position.best_loss
    return Result(
        base_loss=math.nan if base_loss is None else base_loss,
        tuned_loss=math.nan if tuned_loss is None else tuned_loss,
        train_loss=mean_loss(position),
        steps=position.step,
        tokens_per_second=round(outcome.tokens_per_second, 1),
        peak_memory_gb=round(peak_memory_gb(device), 3),
        resumed_from_step=outcome.resumed_from_step,
    )


def _keep_result(work_dir: Path, settings: dict[str, str], result: Result) -> None:
    """The mark that the step is done, written last."""
    text = json.dumps({"made_from": settings, "result": asdict(result)}, indent=2)
    atomic_write(work_dir / _RESULT, text + "\n")


def _finished_result(work_dir: Path, settings: dict[str, str]) -> Result | None:
    """What an earlier try of the same run ended with, if it came to its end."""
    try:
        kept = json.loads((work_dir / _RESULT).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    there = (work_dir / "adapter" / FILE_NAME).exists()
    return Result(**kept["result"]) if there and kept["made_from"] == settings else None
