"""Training of some packs, with nothing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argotune.steps.causal_lm.device import Device
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import Training
from argotune.steps.tune.checkpoint import Checkpoints
from argotune.steps.tune.distributed import World
from argotune.steps.tune.loop import Job
from argotune.steps.tune.pack import Packs
from argotune.steps.tune.report import Report
from argotune.steps.tune.samples import Samples
from argotune.steps.tune.schedule import Schedule
from argotune.steps.tune.stop import StopRequest, StopTime


def bare_job(
    model: Any,
    device: Device,
    training: Training,
    packs: Packs,
    directory: Path,
    stop: StopRequest,
    progress: Progress | None = None,
) -> Job:
    """One process, no held-out rows; checkpoints and report lie in the directory."""
    return Job(
        model=model,
        world=World(),
        device=device,
        training=training,
        schedule=Schedule(training, len(packs), packs.tokens),
        packs=packs,
        held_out=Packs([]),
        samples=Samples([], 0, None, ()),
        checkpoints=Checkpoints(directory / "checkpoints", {}),
        report=Report(directory),
        progress=progress or Progress(),
        stop=stop,
        stop_time=StopTime(),
        base=None,
    )
