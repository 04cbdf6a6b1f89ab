"""card.json: what is known of an adapter's training."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.contracts.model_card import (
    CURVE_POINTS,
    ModelCard,
    read_card,
    thinned,
    write_card,
)


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    card = ModelCard(facts={"seed": "42"}, train_loss=[(1, 2.5)], held_out_loss=[])
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


def test_a_long_curve_is_thinned_by_means() -> None:
    assert thinned([]) == []
    assert thinned([(1, 1.0), (2, 3.0)]) == [(1, 1.0), (2, 3.0)]
    long = [(step, float(step)) for step in range(1, 2 * CURVE_POINTS + 1)]
    assert thinned(long)[:2] == [(2, 1.5), (4, 3.5)]
    assert len(thinned(long)) == CURVE_POINTS
    assert len(thinned([*long, (2 * CURVE_POINTS + 1, 0.0)])) <= CURVE_POINTS
