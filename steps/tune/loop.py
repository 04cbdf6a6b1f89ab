"""The training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.common import log
from argotune.steps.common.errors import Interrupted, PermanentError
from argotune.steps.common.exhausted import missing_gpu_memory
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.stop_time import COST_LIMIT
from argotune.steps.contracts.training_plan import Training
from argotune.steps.tune.checkpoint import BaseLoss, Checkpoints, Position, Tensors, snapshot
from argotune.steps.tune.device import peak_memory_gb
from argotune.steps.tune.distributed import World
from argotune.steps.tune.evaluate import held_out_loss, micro_batch_loss
from argotune.steps.tune.load import (
    count_kept_blocks,
    recompute_activations,
    trainable_parameters,
    uses_dropout,
)
from argotune.steps.tune.optimizer import make_optimizer
from argotune.steps.tune.pack import MicroBatch, Packs
from argotune.steps.tune.report import Report
from argotune.steps.tune.samples import Samples
from argotune.steps.tune.schedule import Schedule
from argotune.steps.tune.stop import StopRequest, StopTime

_SAVE_SECONDS = 180.0
"""Longest time between checkpoints without save_steps, which bounds the loss of a lost node."""

_LOG_SECONDS = 30.0
"""Interval of log lines in a run with long steps."""

_MEMORY_SECONDS = 1.0
"""Interval of reading the peak memory: in a sandbox such as gVisor that takes a millisecond, a
tenth of a small model's step."""

_RECENT_STEPS = 10

_Batch = tuple[int, MicroBatch, bool]
"""A micro-batch with its place in the step, and whether it counts in this process."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that the training loop uses."""

    model: Any
    world: World
    device: Device
    training: Training
    schedule: Schedule
    packs: Packs
    held_out: Packs
    samples: Samples
    checkpoints: Checkpoints
    report: Report
    progress: Progress
    stop: StopRequest
    stop_time: StopTime
    base: BaseLoss | None
    """Held-out loss before training; None without held-out rows."""
    end_after_step: int | None = None
    """Step after which training ends as if its time were over, in a replay; None: time decides."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of the training loop."""

    position: Position
    best: Tensors | None
    """Adapter with the lowest held-out loss; None without early stopping."""
    resumed_from_step: int
    tokens_per_second: float
    """Speed of this attempt, without evaluations and checkpoints."""
    stopped_early: str
    """Why it ended before the last step: `held-out loss` or `cost limit`; empty: it did not."""


def train(job: Job) -> Outcome:
    """Train from the newest checkpoint to the end, which comes early when its time is over.

    Raises Interrupted after a signal, when a checkpoint is written, and PermanentError if the loss
    becomes NaN or explodes, if the time is over before the first step, or if the GPU's memory is
    too small although all activations are recomputed; the last good checkpoint remains.
    """
    run = _Run(job)
    start = run.position.step
    try:
        run.go()
    finally:
        job.checkpoints.finish()
    return Outcome(
        position=run.position,
        best=run.best,
        resumed_from_step=start,
        tokens_per_second=run.tokens / run.seconds if run.seconds else 0.0,
        stopped_early=run.stopped_early,
    )


def mean_loss(position: Position) -> float:
    """Loss per token over the last steps, nats."""
    labels = sum(count for _, count in position.recent)
    return sum(loss for loss, _ in position.recent) / labels if labels else math.nan


class _Run:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.parameters = list(trainable_parameters(job.model).values())
        self.optimizer = make_optimizer(self.parameters, job.training)
        self.position, self.best = job.checkpoints.restore(job.model, self.optimizer)
        uniform = math.log(job.model.config.vocab_size)
        self.start_loss = uniform if job.base is None else job.base.loss
        self.evaluation_seconds = 0.0 if job.base is None else job.base.seconds
        self.step_seconds = 0.0
        self.time_is_over = False
        self.saved_at = self.logged_at = time.monotonic()
        self.tokens, self.seconds = 0, 0.0
        self.memory_gb, self.memory_asked_at = 0.0, -math.inf
        self.draws = uses_dropout(job.model) or bool(job.training.neftune_noise_alpha)
        # On the device, so that a step copies only its micro-batches there.
        self.zero, self.one = torch.tensor([0.0, 1.0], device=job.device.torch_device)

    def go(self) -> None:
        job, position = self.job, self.position
        job.report.rewind(position.step)
        job.model.train()
        self.time_is_over = job.world.any(self._time_is_over(after=position.step))
        self._refuse_no_steps()
        while True:
            if self._evaluation_is_due():
                self._evaluate()
            if self._checkpoint_is_due():
                self._save()
            if self._finished():
                break
            self._step()
            job.progress.update(position.step, job.schedule.steps)
        if self.stopped_early:
            log.event(_logger, "stopped_early", step=position.step, reason=self.stopped_early)
        job.progress.update(1, 1)

    @property
    def stopped_early(self) -> str:
        """Why training ends before its last step; empty while it does not."""
        if self.position.stopped_early:
            return "held-out loss"
        is_cut = self.time_is_over and self.position.step < self.job.schedule.steps
        return COST_LIMIT if is_cut else ""

    def _finished(self) -> bool:
        return bool(self.stopped_early) or self.position.step >= self.job.schedule.steps

    def _time_is_over(self, *, after: int) -> bool:
        """Whether no time is left for another step and the last evaluation after so many steps."""
        if self.job.end_after_step is not None:
            return after >= self.job.end_after_step
        # This step, and another.
        needed = 2 * self.step_seconds + self.evaluation_seconds
        return self.job.stop_time.seconds_left() <= needed

    def _refuse_no_steps(self) -> None:
        if self.time_is_over and self.position.step == 0:
            raise PermanentError(
                "the run may cost so little that the time for tuning is over before its first "
                "step; give it more with `argo retry RUN -p max-cost-usd=USD`"
            )

    def _step(self) -> None:
        """One optimizer step, which is discarded if a signal arrives during it."""
        job, step, began = self.job, self.position.step, time.monotonic()
        indices = job.schedule.indices(step)
        sizes = [job.packs.size(index) for index in indices]
        tokens, labels = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
        # All copies while the device is idle: otherwise each would wait for the passes before it.
        batches = [
            (place, job.packs.micro_batch(index).to(job.device.torch_device), counts)
            for (place, index), counts in job.world.deal(list(enumerate(indices)))
        ]
        loss_here = self._loss_and_gradients(batches, labels)
        # Loss, and the numbers of processes that received a signal, and whose time is over.
        asked = self.zero if job.stop.name is None else self.one
        over = self.one if self._time_is_over(after=step + 1) else self.zero
        totals = job.world.sum(torch.stack([loss_here, asked, over]))
        job.world.sum_gradients(self.parameters)
        limit = job.training.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        # The only place in a step that waits for the device.
        summed, stopped, over_in, gradient_norm = torch.cat([totals, norm.float()[None]]).tolist()
        if stopped:
            self._leave()
        self.time_is_over = bool(over_in)
        self._refuse_bad_loss(summed / labels, gradient_norm)
        rate = job.schedule.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.position.step += 1
        self.position.recent = [*self.position.recent, (summed, labels)][-_RECENT_STEPS:]
        seconds = time.monotonic() - began
        self.tokens += tokens
        self.seconds += seconds
        self.step_seconds = seconds
        self._record(summed / labels, rate, gradient_norm, tokens / seconds)

    def _loss_and_gradients(self, batches: Sequence[_Batch], labels: int) -> torch.Tensor:
        """The summed loss of this process's micro-batches, whose gradients are added up.

        If the GPU's memory is too small, it begins anew with half as many kept blocks.
        """
        while True:
            try:
                return self._pass_through(batches, labels)
            except RuntimeError as error:
                missing = missing_gpu_memory(error)
                if missing is None:
                    raise
            # Here, because the error holds what the pass has allocated.
            self._keep_fewer_blocks(missing)

    def _pass_through(self, batches: Sequence[_Batch], labels: int) -> torch.Tensor:
        job, losses = self.job, [self.zero]
        for place, batch, counts in batches:
            if job.stop.name is not None and not job.world.lockstep:
                break
            if self.draws:
                job.device.seed(job.schedule.seed(self.position.step, place))
            with job.device.precision():
                loss = micro_batch_loss(job.model, batch, job.training.neftune_noise_alpha)
            # Divided by the labels of all micro-batches, so that each token weighs the same.
            torch.autograd.backward(loss * (counts / labels))
            if counts:
                losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _keep_fewer_blocks(self, missing: str) -> None:
        """Keep the activations of half as many blocks. Raises PermanentError if none are kept."""
        base = self.job.model.get_base_model()
        kept = count_kept_blocks(base)
        # In lockstep the others would wait in a pass that this process begins anew.
        if not kept or self.job.world.lockstep:
            tokens = self.job.training.micro_batch_tokens
            raise PermanentError(
                f"the GPU's memory is too small for micro-batches of {tokens} tokens with the "
                f"activations of {kept} blocks kept: {missing}; use a smaller max_length or "
                "micro_batch_tokens, method qlora, or a GPU with more memory"
            )
        recompute_activations(base, kept // 2, draws=self.draws)
        self.optimizer.zero_grad(set_to_none=True)
        if self.job.device.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        log.warn(
            _logger,
            "gpu_memory_too_small",
            reason=missing,
            step=self.position.step + 1,
            kept_blocks=kept // 2,
            before=kept,
            effect="the step begins anew and recomputes the activations of more blocks",
        )

    def _refuse_bad_loss(self, loss: float, gradient_norm: float) -> None:
        """Raise PermanentError before the optimizer takes a step that ruins the adapter."""
        start, mean = self.start_loss, mean_loss(self.position)
        exploded = len(self.position.recent) == _RECENT_STEPS and mean > 2 * start + 1
        if math.isfinite(loss) and math.isfinite(gradient_norm) and not exploded:
            return
        what = f"{mean:.3g} over the last {_RECENT_STEPS} steps" if exploded else f"{loss:g}"
        raise PermanentError(
            f"the loss is {what} and the gradient norm {gradient_norm:g} at step "
            f"{self.position.step + 1}, from a loss of {start:.3g} at the start; the last "
            "checkpoint is kept; try a lower learning_rate (now "
            f"{self.job.training.learning_rate:g}) or a longer warm-up"
        )

    def _record(
        self, loss: float, rate: float, gradient_norm: float, tokens_per_second: float
    ) -> None:
        step, steps = self.position.step, self.job.schedule.steps
        record = {
            "step": step,
            "epoch": round(self.job.schedule.epoch(step), 4),
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": gradient_norm,
            "tokens_per_second": round(tokens_per_second, 1),
            "memory_gb": self._peak_memory_gb(),
        }
        self.job.report.add(record)
        waited = time.monotonic() - self.logged_at
        if step % max(1, steps // 20) == 0 or step == steps or waited >= _LOG_SECONDS:
            log.event(_logger, "step", of=steps, **record)
            self.logged_at = time.monotonic()

    def _peak_memory_gb(self) -> float:
        now = time.monotonic()
        if now - self.memory_asked_at >= _MEMORY_SECONDS:
            self.memory_gb = round(peak_memory_gb(self.job.device), 3)
            self.memory_asked_at = now
        return self.memory_gb

    def _evaluation_is_due(self) -> bool:
        step = self.position.step
        done_or_useless = self.position.evaluated_step == step or not len(self.job.held_out)
        is_time = self.time_is_over or self.job.schedule.evaluates_after(step)
        return step > 0 and not done_or_useless and is_time

    def _evaluate(self) -> None:
        """Measure the held-out loss, and decide about early stopping."""
        job, position, began = self.job, self.position, time.monotonic()
        loss = held_out_loss(job.model, job.held_out, job.device, job.stop, job.world)
        if loss is None:
            self._leave()
        job.report.add({"step": position.step, "eval_loss": loss})
        job.report.add_answers(position.step, job.samples.answers(job.model, job.device, job.world))
        self.evaluation_seconds = max(self.evaluation_seconds, time.monotonic() - began)
        log.event(_logger, "evaluation", step=position.step, eval_loss=loss)
        position.last_loss, position.evaluated_step = loss, position.step
        patience = job.training.early_stopping_patience
        if position.best_loss is None or loss < position.best_loss:
            position.best_loss, position.best_step = loss, position.step
            position.evaluations_without_gain = 0
            keeps = patience is not None and job.world.leads
            self.best = snapshot(job.model) if keeps else None
            return
        position.evaluations_without_gain += 1
        if patience is not None and position.evaluations_without_gain >= patience:
            position.stopped_early = True
            log.event(_logger, "no_gain", step=position.step, best_step=position.best_step)

    def _checkpoint_is_due(self) -> bool:
        step = self.position.step
        if self._finished() or step == 0:
            return step > 0
        asked = self.job.schedule.saves_after(step)
        if asked is not None:
            return asked
        waited = time.monotonic() - self.saved_at
        return self.job.schedule.evaluates_after(step) or waited >= _SAVE_SECONDS

    def _save(self) -> None:
        if self.job.world.leads:
            self.job.checkpoints.begin(self.position, self.job.model, self.optimizer, self.best)
        self.saved_at = time.monotonic()

    def _leave(self) -> NoReturn:
        """Write a checkpoint of the last complete step and raise Interrupted."""
        if self.position.step > 0:
            self._save()
        raise Interrupted(
            f"stopped by {self.job.stop.name or 'a signal'} after step {self.position.step} of "
            f"{self.job.schedule.steps}; a retry resumes from there"
        )
