"""The size of a run's volume: what its steps write there before it goes with the run."""

from __future__ import annotations

import math

from argotune.steps.contracts.training_plan import TrainingPlan, tuning_bytes

DATA_GIB = 20
"""For downloads, the checked rows and the tokens made of them. No plan knows the data, but the
dataset step refuses what has no room, before a GPU is asked for."""
_GIB = 2**30


def volume_gib(plan: TrainingPlan) -> int:
    """The size of the run's volume, whole GiB: the base model is in the model cache, not on it."""
    return DATA_GIB + math.ceil(tuning_bytes(plan) / _GIB)
