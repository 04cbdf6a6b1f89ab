from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.146447]),
    ],
)
def test_rate_rises_then_follows_the_schedule(scheduler: str, expected: list[float]) -> None:
    plan = schedule(10, epochs=1.0, learning_rate=1.0, warmup_ratio=0.2, scheduler=scheduler)
    found = [plan.learning_rate(step) for step in (0, 1, 2, 4, 8)]
    # Six digits are written above.
    assert found == pytest.approx(expected, abs=1e-6)
