from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from argotune.steps.evaluate.decide import (
    FEWEST_ROWS,
    Limits,
    compare,
    decide,
    interval_of,
    mean_loss,
)

LIMITS = Limits(over_base=0.0, over_live=0.0, confidence=0.95)
TOKENS = np.full(40, 10)
ROWS = np.random.default_rng(1)
BASE = ROWS.uniform(5, 50, 40)


def test_a_small_gain_on_each_row_counts_though_rows_differ_much() -> None:
    """The means of 40 rows differ by less than a tenth of the rows' own spread."""
    found = compare("base", BASE, BASE - ROWS.uniform(0.5, 1.5, 40), TOKENS, LIMITS)
    assert found.passed
    assert found.low is not None
    assert 0.08 < found.low < found.gain < 0.12


def test_a_gain_of_a_few_rows_is_none_of_all() -> None:
    new = BASE.copy()
    new[0] -= 4
    found = compare("base", BASE, new, TOKENS, LIMITS)
    assert found.gain == pytest.approx(0.01)
    assert not found.passed


def test_rows_count_by_their_tokens() -> None:
    """One row of 900 tokens gains a nat, ten short ones lose a tenth of one each."""
    tokens = np.array([900] + [10] * 10)
    differences = np.array([1.0] + [-0.1] * 10)
    found = compare("base", differences, np.zeros(11), tokens, LIMITS)
    assert found.gain == pytest.approx(0)


def test_the_interval_is_that_of_the_normal_distribution_where_rows_are_many() -> None:
    differences = np.random.default_rng(2).normal(1, 2, 4000)
    low, high = interval_of(differences, np.ones(4000, dtype=np.int64), 0.95)
    half = 1.96 * differences.std() / 4000**0.5
    assert (low, high) == (
        pytest.approx(differences.mean() - half, abs=half / 10),
        pytest.approx(differences.mean() + half, abs=half / 10),
    )


def test_equal_losses_give_equal_intervals() -> None:
    assert interval_of(BASE, TOKENS, 0.9) == interval_of(BASE, TOKENS, 0.9)


@pytest.mark.parametrize(("margin", "passed"), [(-0.01, True), (0.0, False), (0.01, False)])
def test_what_is_in_service_has_a_margin_of_its_own(margin: float, passed: bool) -> None:
    limits = Limits(over_base=0.0, over_live=margin, confidence=0.95)
    assert compare("live", BASE, BASE, TOKENS, limits).passed == passed


@pytest.mark.parametrize("rows", range(1, FEWEST_ROWS))
def test_of_very_few_rows_the_mean_decides(rows: int) -> None:
    tokens = TOKENS[:rows]
    better = compare("base", BASE[:rows], BASE[:rows] - 1, tokens, LIMITS)
    worse = compare("base", BASE[:rows], BASE[:rows] + 1, tokens, LIMITS)
    assert (better.passed, worse.passed, better.low) == (True, False, None)


def test_a_loss_that_is_no_number_is_rejected_and_worse_than_any() -> None:
    broken = np.where(np.arange(40) == 3, np.nan, BASE)
    assert mean_loss(broken, TOKENS) is None
    assert decide(None, [], [], rows=40).reason == (
        "its loss on 40 held-out rows is no finite number"
    )
    found = compare("live", broken, BASE, TOKENS, LIMITS)
    assert found.passed
    assert decide(1.0, [found], [], rows=40, live="v3").reason == (
        "on 40 held-out rows it is better than v3 in service, whose loss is no finite number"
    )


def test_the_sentence_has_both_gains() -> None:
    base = compare("base", BASE, BASE - 10, TOKENS, LIMITS)
    live = compare("live", BASE, BASE - 1, TOKENS, LIMITS)
    found = decide(1.0, [base, live], [], rows=40, live="v3")
    assert (found.verdict, found.reason) == (
        "passed",
        "on 40 held-out rows it is better than the base model by 1 nats per token (interval 1 to 1)"
        " and better than v3 in service by 0.1 nats per token (interval 0.1 to 0.1)",
    )


def test_a_loss_that_the_margin_accepts_is_called_one() -> None:
    limits = replace(LIMITS, over_live=-1.0)
    live = compare("live", BASE, BASE + 5, TOKENS, limits)
    found = decide(1.0, [live], [], rows=40, live="v3")
    assert (found.verdict, found.reason) == (
        "passed",
        "on 40 held-out rows it is worse than v3 in service by 0.5 nats per token, which the margin"
        " of -1 accepts",
    )


def test_the_sentence_has_all_that_is_wrong() -> None:
    base = compare("base", BASE, BASE - 10, TOKENS, LIMITS)
    live = compare("live", BASE, BASE + 5, TOKENS, LIMITS)
    found = decide(1.0, [base, live], ["2 of 8 answers are empty"], rows=40, live="v3")
    assert (found.verdict, found.reason) == (
        "rejected",
        "it is no better than v3 in service: its gain is -0.5 nats per token (interval -0.5 to"
        " -0.5), and the lower end has to be above 0; 2 of 8 answers are empty",
    )
