"""The size of a run's volume: what its steps write there before it goes with the run."""

from __future__ import annotations

import math

from argotune.steps.contracts.training_plan import TrainingPlan

DATA_GIB = 20
"""For downloads, the checked rows and the tokens made of them. No plan knows the data: they are
fetched and checked before a GPU is asked for, so a volume that is too small for them costs none."""
_COPIES = 4
"""Of 16 bytes for each weight of the adapter: two checkpoints and one that is being written, each
with the best adapter and both moments of Adam, and the adapter with its image."""
_GIB = 2**30


def volume_gib(plan: TrainingPlan) -> int:
    """The size of the run's volume, whole GiB: the base model is in the model cache, not on it."""
    return DATA_GIB + math.ceil(_COPIES * plan.memory.lora_gb * 1e9 / _GIB)
