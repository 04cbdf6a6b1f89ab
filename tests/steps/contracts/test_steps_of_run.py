from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.steps_of_run import (
    best_fit,
    count_steps,
    fit_batch,
    pack_rows,
    steps_of_run,
    steps_of_tokens,
)
from argotune.steps.contracts.training_plan import Training
from tests.fakes.plans import small_plan


def training(**fields: Any) -> Training:
    """Of a step of 32768 tokens and three epochs."""
    usual = {"micro_batch_tokens": 8192, "accumulation_steps": 4, "epochs": 3.0}
    return msgspec.structs.replace(small_plan().training, **(usual | fields))


def test_each_row_goes_into_the_fullest_micro_batch_with_room() -> None:
    assert best_fit([6, 5, 3, 4, 2], 10) == [[0, 2], [1, 3], [4]]


def test_micro_batches_of_few_rows_mix_rows_of_different_lengths() -> None:
    """Calls of two tools, as in tests/bench/tool_calls.py: each tool's rows have one length."""
    lengths = [215, 220] * 100
    bins = pack_rows(lengths, training(micro_batch_tokens=512))
    assert sorted(row for each in bins for row in each) == list(range(200))
    assert {len(each) for each in bins} == {2}
    assert sum(len({lengths[row] for row in each}) == 2 for each in bins) in range(35, 66)
    assert bins == pack_rows(lengths, training(micro_batch_tokens=512))
    assert bins != pack_rows(lengths, training(micro_batch_tokens=512, seed=7))


def test_a_row_longer_than_a_micro_batch_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        best_fit([11, 2], 10)
    assert str(caught.value) == (
        "a row has 11 tokens, but a micro-batch has 10; the plan's training.micro_batch_tokens "
        "must not be less than its max_length"
    )


@pytest.mark.parametrize(
    ("rows", "tokens", "steps"),
    [(20, 100, 60), (91, 60, 273), (1000, 200, 300), (15_000, 200, 300)],
)
def test_a_run_of_little_data_has_its_least_steps(rows: int, tokens: int, steps: int) -> None:
    """Or one for each row: no step is smaller than a row."""
    found = steps_of_run([tokens] * rows, training(min_steps=300))
    assert found.total in range(steps, round(1.05 * steps) + 1)
    assert found.tokens_per_step <= 32768


def test_much_data_has_the_planned_batch() -> None:
    found = steps_of_run([2048] * 3200, training(min_steps=300))
    assert (found.per_epoch, found.total, found.tokens_per_step) == (200, 600, 32768)


def test_a_batch_of_the_user_does_not_shrink() -> None:
    found = steps_of_run([100] * 20, training())
    assert (found.per_epoch, found.total, found.tokens_per_step) == (1, 3, 2000)


def test_a_smaller_step_has_few_micro_batches_of_one_size_and_none_below_a_row() -> None:
    def batch(tokens: int) -> tuple[int, int]:
        fitted = fit_batch(training(min_steps=300), tokens=tokens, longest=500)
        return fitted.micro_batch_tokens, fitted.accumulation_steps

    assert batch(100 * 32768) == (8192, 4)
    assert batch(100 * 30_000) == (7500, 4)
    assert batch(100 * 10_000) == (5000, 2)
    assert batch(100 * 8192) == (8192, 1)
    assert batch(100 * 700) == (700, 1)
    assert batch(100 * 100) == (500, 1)
    assert batch(0) == (8192, 4)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "per_epoch", "total"),
    [
        (2.0, None, 3, 6),
        (0.5, None, 3, 2),
        (2.0, 2, 3, 2),
        (2.0, 60, 3, 60),
    ],
)
def test_steps_are_counted_as_transformers_does(
    epochs: float, max_steps: int | None, per_epoch: int, total: int
) -> None:
    counted = training(accumulation_steps=3, epochs=epochs, max_steps=max_steps)
    found = count_steps(7, 700, counted)
    assert (found.per_epoch, found.total, found.tokens_per_step) == (per_epoch, total, 233)
    assert found.epochs == total / per_epoch


def test_a_number_of_rows_makes_micro_batches_of_that_many_in_random_order() -> None:
    lengths = random.Random(1).choices(range(10, 500), k=25)
    bins = pack_rows(lengths, training(rows_per_micro_batch=4))
    assert [len(each) for each in bins] == [4] * 6 + [1]
    rows = [row for each in bins for row in each]
    assert sorted(rows) == list(range(25))
    assert rows != list(range(25))
    assert bins == pack_rows(lengths, training(rows_per_micro_batch=4))
    assert bins != pack_rows(lengths, training(rows_per_micro_batch=4, seed=7))


def test_steps_of_a_number_of_tokens_are_about_those_of_its_rows() -> None:
    for tokens in (20_000, 200_000, 3_000_000, 30_000_000):
        exact = steps_of_run([100] * (tokens // 100), training(min_steps=100)).total
        assert steps_of_tokens(tokens, training(min_steps=100)) == pytest.approx(exact, rel=0.05)


def test_few_steps_are_told_with_what_to_do() -> None:
    few = steps_of_run([100] * 20, training(epochs=1.0))
    assert few.warning() == (
        "the run has only 1 optimizer step of 2000 tokens, with which a model learns little; give "
        "it more rows, a higher num_train_epochs or max_steps, or smaller steps"
    )
    assert steps_of_run([100] * 20, training(max_steps=60)).warning() == ""
