"""Training that has to end by a time: at a cost limit, with what it has learned so far."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from argotune.steps.common.errors import Interrupted, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.stop_time import KEY, stop_config_map
from argotune.steps.tune import stop
from argotune.steps.tune.checkpoint import BaseLoss
from argotune.steps.tune.launch import launch
from argotune.steps.tune.load import trainable_parameters
from argotune.steps.tune.loop import train
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.run import run
from argotune.steps.tune.stop import StopRequest, StopTime
from tests.steps.tune import crews
from tests.steps.tune.models import params_for, read_records, tiny_plan, write_dataset
from tests.steps.tune.traps.running import StopAt

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = tiny_plan(epochs=4.0, eval_steps=1000)
"""It evaluates before the first step and after the last."""


def write_stop_time(file: Path, at: datetime) -> None:
    """As the kubelet brings the ConfigMap of `watch` into the pod."""
    made = stop_config_map(namespace="team", workflow="phi-abc", run="uid", stop_at=at)
    data = made["data"]
    assert isinstance(data, dict)
    file.write_text(data[KEY])


def params(work_dir: Path, model_dir: Path) -> Params:
    made = params_for(work_dir, model_dir, PLAN)
    return dataclasses.replace(made, stop_at_file=work_dir / KEY)


def interrupted(work_dir: Path, model_dir: Path, step: int) -> None:
    """An attempt that a node's end has stopped after so many steps."""
    write_dataset(work_dir)
    with pytest.raises(Interrupted):
        run(params(work_dir, model_dir), progress=StopAt(step))


def check_ended_early(work_dir: Path, result: Result) -> None:
    """With the adapter of the last step, and its loss."""
    assert result.stopped_early == "cost limit"
    losses = [r["eval_loss"] for r in read_records(work_dir) if "eval_loss" in r]
    assert losses == [result.base_loss, result.tuned_loss]
    assert result.tuned_loss < result.base_loss
    (last,) = list((work_dir / "checkpoints").glob(f"step-{result.steps:08}"))
    kept = safetensors.torch.load_file(last / "adapter.safetensors")
    adapter = safetensors.torch.load_file(work_dir / "adapter" / "adapter_model.safetensors")
    exported = {name.replace(".weight", ".default.weight"): t for name, t in adapter.items()}
    torch.testing.assert_close(exported, kept, rtol=0, atol=0)


class WritesAt(Progress):
    """Puts a time that is over into the file once a step is done."""

    def __init__(self, step: int, file: Path) -> None:
        super().__init__()
        self._step, self._file = step, file

    def update(self, done: int, total: int) -> None:
        if done == self._step:
            write_stop_time(self._file, NOW)


def test_a_time_that_comes_during_training_ends_it_with_an_adapter_and_its_loss(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "_LOOK_SECONDS", 0.0)
    write_dataset(tmp_path)
    result = run(params(tmp_path, model_dir), progress=WritesAt(3, tmp_path / KEY))
    assert result.steps == 4, "the step that was under way"
    check_ended_early(tmp_path, result)
    again = run(params(tmp_path, model_dir), progress=Progress())
    assert again == result


def test_another_try_after_that_time_only_ends_what_is_there(
    tmp_path: Path, model_dir: Path
) -> None:
    interrupted(tmp_path, model_dir, step=3)
    write_stop_time(tmp_path / KEY, NOW)
    result = run(params(tmp_path, model_dir), progress=Progress())
    assert result.resumed_from_step == result.steps == 3
    check_ended_early(tmp_path, result)


def test_a_time_that_is_over_before_the_first_step_is_refused_with_what_to_do(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    write_stop_time(tmp_path / KEY, NOW)
    with pytest.raises(PermanentError) as caught:
        run(params(tmp_path, model_dir), progress=Progress())
    assert str(caught.value) == (
        "the run may cost so little that the time for tuning is over before its first step; give "
        "it more with `argo retry RUN -p max-cost-usd=USD`"
    )
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("text", [None, "", "soon"])
def test_without_a_time_in_the_file_there_is_no_end(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / KEY).write_text(text)
    assert StopTime(tmp_path / KEY).seconds_left() == float("inf")


def test_a_new_time_in_the_file_counts(tmp_path: Path) -> None:
    file, clock = tmp_path / KEY, [0.0]
    time = StopTime(file, wall=lambda: NOW.timestamp() + clock[0], now=lambda: clock[0])
    assert time.seconds_left() == float("inf")
    left = []
    for clock[0], minutes in ((10.0, 30), (20.0, 60), (30.0, 20)):
        write_stop_time(file, NOW + timedelta(minutes=minutes))
        left.append(time.seconds_left())
    assert left == [1790.0, 3580.0, 1170.0]


def test_all_processes_end_after_the_same_step_though_one_alone_saw_the_time(
    model_dir: Path, forks: ForkServerContext
) -> None:
    work = functools.partial(crews.second_is_out_of_time, model_dir)
    assert launch(work, 2, context=forks) == (3, "cost limit")


@pytest.mark.parametrize(("evaluation_hours", "steps"), [(0, 11), (3, 8)])
def test_training_ends_so_early_that_its_last_evaluation_is_in_time(
    tmp_path: Path, model_dir: Path, evaluation_hours: int, steps: int
) -> None:
    """Ten and a half hours are left, and one passes between two looks at the clock."""
    write_stop_time(tmp_path / KEY, NOW + timedelta(hours=10.5))
    hours = itertools.count()
    time = StopTime(tmp_path / KEY, wall=lambda: NOW.timestamp() + 3600 * next(hours))
    base = BaseLoss(loss=5.0, seconds=3600.0 * evaluation_hours)
    with StopRequest() as request:
        job = crews.small_job(model_dir, tmp_path, request)
        outcome = train(dataclasses.replace(job, stop_time=time, base=base))
    assert (outcome.position.step, outcome.stopped_early) == (steps, "cost limit")


def test_a_replay_ends_after_the_step_of_then_whatever_the_time(
    tmp_path: Path, model_dir: Path
) -> None:
    def end(directory: Path, **how: Any) -> tuple[int, str, Mapping[str, torch.Tensor]]:
        with StopRequest() as request:
            job = dataclasses.replace(crews.small_job(model_dir, directory, request), **how)
            outcome = train(job)
        weights = {name: each.detach() for name, each in trainable_parameters(job.model).items()}
        return outcome.position.step, outcome.stopped_early, weights

    write_stop_time(tmp_path / KEY, NOW + timedelta(hours=3.5))
    hours = itertools.count()
    time = StopTime(tmp_path / KEY, wall=lambda: NOW.timestamp() + 3600 * next(hours))
    step, reason, weights = end(tmp_path / "then", stop_time=time)
    now = end(tmp_path / "now", end_after_step=step)
    assert (step, reason) == (now[0], now[1]) == (4, "cost limit")
    assert all(torch.equal(each, now[2][name]) for name, each in weights.items())
