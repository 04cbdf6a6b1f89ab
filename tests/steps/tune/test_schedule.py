from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import get_scheduler

from argotune.steps.tune.schedule import Schedule
from tests.steps.tune.models import tiny_plan


def schedule(packs: int, **training: Any) -> Schedule:
    return Schedule(tiny_plan(**training).training, packs, 100 * packs)


def test_each_epoch_takes_every_micro_batch_once() -> None:
    plan = schedule(7, epochs=2.0, accumulation_steps=3)
    taken = [index for step in range(plan.steps) for index in plan.indices(step)]
    assert sorted(taken[:7]) == sorted(taken[7:]) == list(range(7))


def test_no_step_runs_over_the_end_of_an_epoch() -> None:
    plan = schedule(7, epochs=2.0, accumulation_steps=3)
    assert [len(plan.indices(step)) for step in range(plan.steps)] == [3, 3, 1, 3, 3, 1]
    assert [plan.epoch(step) for step in (0, 1, 3, 4, 6)] == [0, 3 / 7, 1, 1 + 3 / 7, 2]


def test_max_steps_repeats_the_rows_beyond_the_epochs() -> None:
    plan = schedule(2, epochs=3.0, accumulation_steps=8, max_steps=60)
    assert plan.steps == 60
    assert all(sorted(plan.indices(step)) == [0, 1] for step in range(60))
    assert plan.epoch(60) == 60


def test_part_of_an_epoch_is_a_run() -> None:
    assert schedule(10, epochs=0.3).steps == 3
    assert schedule(2, epochs=0.1).steps == 1


def test_evaluates_at_the_end_of_each_epoch_and_at_the_end() -> None:
    plan = schedule(4, epochs=2.5)
    assert [step for step in range(1, 11) if plan.evaluates_after(step)] == [4, 8, 10]


def test_evaluates_each_eval_steps_and_at_the_end() -> None:
    plan = schedule(4, epochs=2.5, eval_steps=3)
    assert [step for step in range(1, 11) if plan.evaluates_after(step)] == [3, 6, 9, 10]


def test_eval_steps_and_save_steps_below_1_are_shares_of_the_run() -> None:
    plan = schedule(10, epochs=1.0, eval_steps=0.25, save_steps=0.5)
    assert [step for step in range(1, 11) if plan.evaluates_after(step)] == [3, 6, 9, 10]
    assert [step for step in range(1, 11) if plan.saves_after(step)] == [5, 10]
    assert schedule(10).saves_after(5) is None


@pytest.mark.parametrize(
    ("scheduler", "arguments"),
    [
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 0.75}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"lr_end": 1e-4, "power": 2.0}),
        ("inverse_sqrt", {}),
        ("cosine_with_min_lr", {"min_lr": 1e-4}),
        ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2}),
        ("warmup_stable_decay", {"num_decay_steps": 5, "decay_type": "1-sqrt"}),
    ],
)
@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.11}, {"warmup_steps": 5}])
def test_rates_are_those_of_transformers_trainer_step_for_step(
    scheduler: str, arguments: dict[str, Any], warmup: dict[str, Any]
) -> None:
    plan = schedule(
        20,
        epochs=1.0,
        learning_rate=1e-2,
        scheduler=scheduler,
        scheduler_kwargs=arguments,
        **warmup,
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-2)
    theirs = get_scheduler(
        scheduler,
        optimizer,
        num_warmup_steps=warmup.get("warmup_steps") or 3,
        num_training_steps=20,
        scheduler_specific_kwargs=arguments,
    )
    for step in range(20):
        assert plan.learning_rate(step) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        theirs.step()
