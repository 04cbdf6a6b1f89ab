"""Trainings that several processes do in tests; each imports it by its name."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from argotune.steps.contracts.stop_time import KEY
from argotune.steps.tune.device import find_device
from argotune.steps.tune.distributed import World
from argotune.steps.tune.load import load_model
from argotune.steps.tune.loop import Job, train
from argotune.steps.tune.report import NoReport
from argotune.steps.tune.stop import StopRequest, StopTime
from tests.fakes.jobs import bare_job
from tests.steps.tune.models import tiny_plan
from tests.steps.tune.test_pack import packed, rows_of


def second_is_out_of_time(model_dir: Path, world: World) -> tuple[int, str]:
    """The second sees in its third step that its time is over; the first has no such file."""
    with tempfile.TemporaryDirectory() as name, StopRequest() as stop:
        file = Path(name, KEY)
        file.write_text("2026-01-01T00:00:00Z")
        looks = iter([-1.0, -1.0, -1.0, 1.0])
        midnight = 1767225600.0
        time = StopTime(file, wall=lambda: midnight + 3600 * next(looks))
        job = small_job(model_dir, Path(name), stop)
        own = time if world.rank == 1 else StopTime()
        outcome = train(dataclasses.replace(job, world=world, stop_time=own))
    return outcome.position.step, outcome.stopped_early


def small_job(model_dir: Path, directory: Path, stop: StopRequest) -> Job:
    """Twenty steps, of which nothing is reported."""
    plan = tiny_plan(max_steps=20, epochs=20.0)
    device = find_device()
    model = load_model(plan, model_dir, device, "default")
    packs = packed(rows_of(60, 60, 40, 40), 100)
    job = bare_job(model, device, plan.training, packs, directory, stop)
    return dataclasses.replace(job, report=NoReport())
