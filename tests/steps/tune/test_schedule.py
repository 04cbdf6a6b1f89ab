from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.tune.schedule import Schedule
from tests.steps.tune.models import tiny_plan


def schedule(packs: int, **training: Any) -> Schedule:
    return Schedule(tiny_plan(**training).training, packs)


def test_each_epoch_takes_every_micro_batch_once() -> None:
    plan = schedule(7, epochs=2.0, accumulation_steps=3)
    taken = [index for step in range(plan.steps) for index in plan.indices(step)]
    assert plan.steps == 5
    assert sorted(taken[:7]) == sorted(taken[7:]) == list(range(7))
    assert len(plan.indices(4)) == 2


def test_max_steps_ends_the_run_earlier() -> None:
    assert schedule(7, epochs=2.0, accumulation_steps=3, max_steps=2).steps == 2
    assert schedule(7, epochs=2.0, accumulation_steps=3, max_steps=99).steps == 5


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
