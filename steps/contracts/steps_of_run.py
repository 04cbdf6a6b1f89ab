"""The batches and steps of a run, from the tokens of its rows: what tune does and others foretell.

The plan's batch is a ceiling, because nobody knows the data yet when the plan is made. Once the
rows are counted, `fit_batch` shrinks it so that the run has its `min_steps`. Everything here
follows from the rows' lengths and the plan alone, so that every process and every attempt of a run
gets the same, and the standard library is enough.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from argotune.steps.common.counted import counted
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Training

FEW_STEPS = 30
"""With fewer optimizer steps a LoRA barely leaves its initialization: Adam moves a weight by at
most the learning rate in each, and B starts at zero."""


@dataclass(frozen=True, kw_only=True)
class RunSteps:
    """The optimizer steps of a run."""

    per_epoch: int
    total: int
    """Steps of the whole run; less than `per_epoch` if the run ends within its first epoch."""
    tokens_per_step: int
    """Mean number of tokens of a step."""

    @property
    def epochs(self) -> float:
        """Passes over the rows."""
        return self.total / self.per_epoch

    def run_tokens(self, tokens: int) -> int:
        """Tokens of the whole run, each epoch's again, by those of one epoch."""
        return round(tokens * self.epochs)

    def warning(self) -> str:
        """What few steps mean, and what to do; empty if they are enough."""
        if self.total >= FEW_STEPS:
            return ""
        steps = counted(self.total, "optimizer step")
        return (
            f"the run has only {steps} of {self.tokens_per_step} tokens, with which a model learns "
            "little; give it more rows, a higher num_train_epochs or max_steps, or smaller steps"
        )


def steps_of_run(lengths: Sequence[int], training: Training) -> RunSteps:
    """The steps that tune makes of rows with these lengths.

    Args:
        lengths: Tokens of each row to train on, as they are cut at `max_length`; not empty.
        training: Of the plan.
    """
    tokens = sum(lengths)
    fitted = fit_batch(training, tokens=tokens, longest=max(lengths))
    return count_steps(len(pack_rows(lengths, fitted)), tokens, fitted)


def steps_of_tokens(tokens: int, training: Training) -> int:
    """About the steps of a run, where only the tokens of an epoch are known and no row is long."""
    fitted = fit_batch(training, tokens=tokens, longest=1)
    return count_steps(math.ceil(tokens / fitted.micro_batch_tokens), tokens, fitted).total


def fit_batch(training: Training, *, tokens: int, longest: int) -> Training:
    """The training with the batch that its data permit: the plan's, or a smaller one.

    Args:
        training: Of the plan, with the largest batch.
        tokens: Of all rows to train on.
        longest: Tokens of the longest row, which no micro-batch can be smaller than.

    Returns:
        A smaller step has as few micro-batches as the plan's size permits, all of one size.
    """
    if training.min_steps is None or not tokens:
        return training
    wanted = math.floor(tokens * training.epochs / training.min_steps)
    if wanted >= training.micro_batch_tokens * training.accumulation_steps:
        return training
    passes = math.ceil(wanted / training.micro_batch_tokens)
    accumulation_steps = max(1, min(passes, wanted // longest))
    micro_batch_tokens = max(longest, wanted // accumulation_steps)
    return msgspec.structs.replace(
        training,
        micro_batch_tokens=min(training.micro_batch_tokens, micro_batch_tokens),
        accumulation_steps=accumulation_steps,
    )


def count_steps(micro_batches: int, tokens: int, training: Training) -> RunSteps:
    """The steps of a run with this many micro-batches and tokens in each epoch.

    As in transformers, a step ends with its epoch even if it has fewer micro-batches, part of an
    epoch is rounded up to whole steps, and max_steps alone decides the length if it is set.
    """
    per_epoch = math.ceil(micro_batches / training.accumulation_steps)
    return RunSteps(
        per_epoch=per_epoch,
        total=training.max_steps or math.ceil(training.epochs * per_epoch),
        tokens_per_step=round(tokens / per_epoch),
    )


def pack_rows(lengths: Sequence[int], training: Training) -> list[list[int]]:
    """The row numbers of each micro-batch: by tokens, or as many rows as the user gave.

    The rows come in a random order that the seed repeats, and not the longest first: rows of one
    length are often of one kind, and steps of one kind each do not learn both
    (tests/bench/tool_calls.py). Raises PermanentError as `best_fit`.
    """
    order = list(range(len(lengths)))
    random.Random(training.seed).shuffle(order)
    rows = training.rows_per_micro_batch
    if rows is not None:
        return [order[first : first + rows] for first in range(0, len(order), rows)]
    bins = best_fit([lengths[row] for row in order], training.micro_batch_tokens)
    return [[order[place] for place in places] for places in bins]


def best_fit(lengths: Sequence[int], capacity_tokens: int) -> list[list[int]]:
    """Each row, in the order given, into the fullest micro-batch with space for it.

    Raises PermanentError if a row is longer than a micro-batch.
    """
    if max(lengths, default=0) > capacity_tokens:
        raise PermanentError(
            f"a row has {max(lengths)} tokens, but a micro-batch has {capacity_tokens}; "
            "the plan's training.micro_batch_tokens must not be less than its max_length"
        )
    bins: list[list[int]] = []
    open_bins: dict[int, list[int]] = {}  # free tokens -> bins
    free_sizes: list[int] = []  # sorted keys of open_bins
    for row, length in enumerate(lengths):
        found = bisect.bisect_left(free_sizes, length)
        if found == len(free_sizes):
            bins.append([row])
            _open(open_bins, free_sizes, capacity_tokens - length, len(bins) - 1)
            continue
        free = free_sizes[found]
        chosen = open_bins[free].pop()
        if not open_bins[free]:
            del open_bins[free], free_sizes[found]
        bins[chosen].append(row)
        _open(open_bins, free_sizes, free - length, chosen)
    return bins


def _open(open_bins: dict[int, list[int]], free_sizes: list[int], free: int, index: int) -> None:
    if free <= 0:
        return
    if free not in open_bins:
        open_bins[free] = []
        bisect.insort(free_sizes, free)
    open_bins[free].append(index)
