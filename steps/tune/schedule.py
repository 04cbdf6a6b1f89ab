"""The micro-batches of each optimizer step of a run, and its learning rate.

Everything depends only on the step's number, so a resumed run needs no other state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import get_scheduler

from argotune.steps.contracts.steps_of_run import RunSteps, count_steps
from argotune.steps.contracts.training_plan import Training
from argotune.steps.tune.pack import epoch_order


@dataclass(frozen=True)
class Schedule:
    """The steps of a run."""

    training: Training
    """With the batch that fits the data."""
    packs: int
    """Micro-batches per epoch."""
    tokens: int
    """Tokens per epoch."""

    @functools.cached_property
    def run_steps(self) -> RunSteps:
        """How many steps the run and its epochs have."""
        return count_steps(self.packs, self.tokens, self.training)

    @property
    def per_epoch(self) -> int:
        """Number of optimizer steps of a whole epoch."""
        return self.run_steps.per_epoch

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the run."""
        return self.run_steps.total

    def indices(self, step: int) -> list[int]:
        """Indices of the micro-batches of step `step`, counted from 0.

        The last step of an epoch may have fewer.
        """
        epoch, place = divmod(step, self.per_epoch)
        order = epoch_order(self.packs, self.training.seed, epoch)
        size = self.training.accumulation_steps
        return list(order[place * size : (place + 1) * size])

    def seed(self, step: int, place: int) -> int:
        """Seed of the dropout in micro-batch `place` of a step; the same in every process."""
        number = step * self.training.accumulation_steps + place
        words = np.random.SeedSequence([self.training.seed, number]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def epoch(self, steps_done: int) -> float:
        """Number of epochs done after `steps_done` steps."""
        epoch, place = divmod(steps_done, self.per_epoch)
        return epoch + place * self.training.accumulation_steps / self.packs

    def evaluates_after(self, steps_done: int) -> bool:
        """Whether to evaluate: every eval_steps, else after each epoch; and after the last step."""
        if steps_done >= self.steps:
            return True
        return steps_done % (self._interval(self.training.eval_steps) or self.per_epoch) == 0

    def saves_after(self, steps_done: int) -> bool | None:
        """Whether save_steps asks for a checkpoint; None without save_steps."""
        every = self._interval(self.training.save_steps)
        return None if every is None else steps_done % every == 0

    def learning_rate(self, step: int) -> float:
        """Learning rate of step `step`, from 0, as transformers' Trainer has it."""
        return self.training.learning_rate * float(self._share_of_rate(step))

    def _interval(self, steps: float | None) -> int | None:
        """A number of steps from one that may be a share of the run's."""
        if steps is None or steps >= 1:
            return None if steps is None else int(steps)
        return math.ceil(self.steps * steps)

    @functools.cached_property
    def _share_of_rate(self) -> Callable[[int], float]:
        training = self.training
        warmup_steps = training.warmup_steps or math.ceil(training.warmup_ratio * self.steps)
        # The schedule reads the peak rate of an optimizer, and has a function of a step's number.
        unused = torch.optim.SGD([torch.zeros(1)], lr=training.learning_rate)
        schedule = get_scheduler(
            training.scheduler,
            unused,
            num_warmup_steps=warmup_steps,
            num_training_steps=self.steps,
            scheduler_specific_kwargs=training.scheduler_kwargs,
        )
        share: Callable[[int], float] = schedule.lr_lambdas[0]
        return share
