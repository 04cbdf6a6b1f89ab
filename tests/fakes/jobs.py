"""Training of some packs, with nothing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steps.common.progress import Progress
from steps.contracts.training_plan import Training
from steps.tune.checkpoint import Checkpoints
from steps.tune.device import Device
from steps.tune.distributed import World
from steps.tune.loop import Job
from steps.tune.pack import Packs
from steps.tune.report import Report
from steps.tune.samples import Samples
from steps.tune.schedule import Schedule
from steps.tune.stop import StopRequest


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
        schedule=Schedule(training, len(packs)),
        packs=packs,
        held_out=Packs([]),
        samples=Samples([], 0, None, ()),
        checkpoints=Checkpoints(directory / "checkpoints", {}),
        report=Report(directory),
        progress=progress or Progress(),
        stop=stop,
        base_loss=None,
    )
