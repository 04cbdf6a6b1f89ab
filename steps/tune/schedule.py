"""The number of steps of a run, the micro-batches of each step, and its learning rate.

Everything depends only on the step's number, so a resumed run needs no other state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from argotune.steps.contracts.training_plan import Training
from argotune.steps.tune.pack import epoch_order


@dataclass(frozen=True)
class Schedule:
    """The steps of a run."""

    training: Training
    packs: int
    """Micro-batches per epoch."""

    @functools.cached_property
    def micro_batches(self) -> int:
        """Number of micro-batches of the whole run, each a forward and a backward pass."""
        wanted = max(1, round(self.training.epochs * self.packs))
        if self.training.max_steps is None:
            return wanted
        return min(wanted, self.training.max_steps * self.training.accumulation_steps)

    @functools.cached_property
    def steps(self) -> int:
        """Number of optimizer steps of the run; the last may have fewer micro-batches."""
        return math.ceil(self.micro_batches / self.training.accumulation_steps)

    def indices(self, step: int) -> list[int]:
        """Indices of the micro-batches of step `step`, counted from 0."""
        first = step * self.training.accumulation_steps
        last = min(first + self.training.accumulation_steps, self.micro_batches)
        return [
            epoch_order(self.packs, self.training.seed, place // self.packs)[place % self.packs]
            for place in range(first, last)
        ]

    def seed(self, step: int, place: int) -> int:
        """Seed of the dropout in micro-batch `place` of a step; the same in every process."""
        number = step * self.training.accumulation_steps + place
        words = np.random.SeedSequence([self.training.seed, number]).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def epoch(self, steps_done: int) -> float:
        """Number of epochs done after `steps_done` steps."""
        places = min(steps_done * self.training.accumulation_steps, self.micro_batches)
        return places / self.packs

    def evaluates_after(self, steps_done: int) -> bool:
        """Whether to evaluate: every eval_steps, else after each epoch; and after the last step."""
        if steps_done >= self.steps:
            return True
        if self.training.eval_steps is not None:
            return steps_done % self.training.eval_steps == 0
        return int(self.epoch(steps_done)) > int(self.epoch(steps_done - 1))

    def learning_rate(self, step: int) -> float:
        """Learning rate of step `step`, from 0: a linear warm-up, then the plan's schedule."""
        warmup = math.ceil(self.training.warmup_ratio * self.steps)
        if step < warmup:
            return self.training.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.training.learning_rate * _DECAY[self.training.scheduler](done)


_DECAY: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}
