"""Two processes on this machine's CPU, over gloo, against one."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import msgspec
import pytest
import safetensors.torch
import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import Execution, TrainingPlan
from argotune.steps.tune import distributed
from argotune.steps.tune.distributed import World, process_count
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.run import run
from tests.steps.tune.float64 import TOLERANCE, check_close, in_float64
from tests.steps.tune.models import (
    flags_of,
    params_for,
    read_records,
    tiny_plan,
    wait_for_checkpoint,
    write_dataset,
)


def tune(work_dir: Path, model_dir: Path, plan: TrainingPlan, context: ForkServerContext) -> Result:
    write_dataset(work_dir)
    progress = Progress(work_dir / "progress")
    return run(params_for(work_dir, model_dir, plan), progress=progress, context=context)


def numbers(work_dir: Path) -> list[list[float]]:
    return [
        [float(value) for value in record.values() if value is not None]
        for record in read_records(work_dir)
    ]


def adapter(work_dir: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(work_dir / "adapter" / "adapter_model.safetensors")


def check_alike(first: Path, second: Path) -> None:
    """Equal but for the order in which gradients are summed."""
    found, expected = numbers(first), numbers(second)
    assert len(found) == len(expected) > 5
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=TOLERANCE)
    check_close(adapter(first), adapter(second))
    contracts = [(path / "adapter" / "serving.json").read_bytes() for path in (first, second)]
    assert contracts[0] == contracts[1]


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("method", "execution", "training"),
    [
        ("lora", Execution(processes=2), {}),
        ("lora", Execution(processes=2, shard=True), {"gradient_checkpointing": True}),
        ("qlora", Execution(processes=2, shard=True), {}),
    ],
    ids=["replicated", "sharded", "sharded 4-bit"],
)
def test_two_processes_give_the_loss_curve_of_one(
    tmp_path: Path,
    model_dir: Path,
    forks: ForkServerContext,
    method: str,
    execution: Execution,
    training: dict[str, Any],
) -> None:
    """Steps of three micro-batches, so that one process has one more than the other."""
    settings = {"accumulation_steps": 3, **training}
    for name, laid_out in (("one", Execution(processes=1)), ("two", execution)):
        plan = tiny_plan(method=method, execution=laid_out, **settings)
        result = tune(tmp_path / name, model_dir, plan, forks)
        assert result.tuned_loss < 0.9 * result.base_loss
    check_alike(tmp_path / "two", tmp_path / "one")
    progress = (tmp_path / "two" / "progress").read_text().splitlines()
    assert progress[-1] == "1/1"


@pytest.mark.usefixtures("in_float64")
def test_dropout_is_the_same_in_whichever_process(
    tmp_path: Path, model_dir: Path, forks: ForkServerContext
) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        plan = tiny_plan(execution=Execution(processes=processes), accumulation_steps=2)
        lora = msgspec.structs.replace(plan.lora, dropout=0.3)
        tune(tmp_path / name, model_dir, msgspec.structs.replace(plan, lora=lora), forks)
    check_alike(tmp_path / "two", tmp_path / "one")


def step(flags: list[str], log: Path) -> None:
    """What the process of the step does: all of it, with its stderr in a file."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)
    # As many threads as the tests: sums in another order differ in the last bit.
    torch.set_num_threads(1)
    # Forks, for launch's own way takes 20 s: new interpreters, which test_launch starts.
    with in_float64(context=multiprocessing.get_context("fork")):
        main(Params, Result, run, arguments=flags)


@pytest.mark.usefixtures("in_float64")
def test_sigterm_is_passed_on_and_the_run_goes_on_with_another_number_of_processes(
    tmp_path: Path, model_dir: Path, forks: ForkServerContext
) -> None:
    settings = {"epochs": 8.0, "accumulation_steps": 8, "save_steps": 1, "eval_steps": 5}
    two = tiny_plan(execution=Execution(processes=2), **settings)
    one = tiny_plan(execution=Execution(processes=1), **settings)
    whole = tune(tmp_path / "whole", model_dir, one, forks)

    work_dir = tmp_path / "stopped"
    write_dataset(work_dir)
    flags = flags_of(params_for(work_dir, model_dir, two))
    process = forks.Process(target=step, args=(flags, work_dir / "log"))
    process.start()
    wait_for_checkpoint(work_dir, process.is_alive)
    process.terminate()
    process.join(timeout=60)
    log = (work_dir / "log").read_text()
    assert process.exitcode == 75, log
    last = int(max(path.name for path in (work_dir / "checkpoints").glob("step-*"))[5:])
    assert 0 < last < whole.steps
    assert log.splitlines()[-1] == (
        f"error: stopped by SIGTERM after step {last} of {whole.steps}; a retry resumes from there"
    )
    assert [r["step"] for r in read_records(work_dir) if "loss" in r][-1] == last

    result = run(params_for(work_dir, model_dir, one), progress=Progress())
    assert result.resumed_from_step == last
    check_alike(work_dir, tmp_path / "whole")


def test_a_share_is_every_so_manieth_item() -> None:
    items = ["a", "b", "c", "d", "e"]
    assert World(0, 2).deal(items) == [("a", True), ("c", True), ("e", True)]
    assert World(1, 2).deal(items) == [("b", True), ("d", True)]
    assert World(3, 4).deal(items[:2]) == []


def test_in_lockstep_all_have_as_many_items_and_each_counts_once() -> None:
    items = ["a", "b", "c", "d", "e"]
    shares = [World(rank, 3, lockstep=True).deal(items) for rank in range(3)]
    assert {len(share) for share in shares} == {2}
    assert sorted(item for share in shares for item, counts in share if counts) == items


def test_all_gpus_are_used_unless_fewer_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no GPUs here, so torch's count of them is given by hand."""
    assert (process_count(None), process_count(3)) == (1, 3)
    monkeypatch.setattr(distributed.torch.cuda, "device_count", lambda: 4)
    assert (process_count(None), process_count(2)) == (4, 2)
    with pytest.raises(PermanentError) as caught:
        process_count(8)
    assert str(caught.value) == (
        "processes is 8, but this machine has 4 GPUs; set at most that many, or remove it to use "
        "all"
    )
