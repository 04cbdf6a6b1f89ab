from __future__ import annotations

from collections.abc import Iterable

import numpy
import pytest
import torch

from argotune.steps.serve.engine.choice import Choice
from argotune.steps.serve.engine.interface import Sampling, TokenMask

LOGITS = torch.linspace(-1, 1, 40)
"""The last token is the likeliest, and none is unlikely."""


def chosen(
    seeds: Iterable[int], temperature: float = 1.0, top_p: float = 1.0, count: int = 1
) -> set[tuple[int, ...]]:
    """What is chosen `count` times in a row with each of the seeds."""
    found = set()
    for seed in seeds:
        choice = Choice(Sampling(temperature=temperature, top_p=top_p, seed=seed), None)
        found.add(tuple(choice.choose(LOGITS) for _ in range(count)))
    return found


@pytest.mark.parametrize(("temperature", "different"), [(0, 1), (1e-3, 1), (2.0, 5)])
def test_temperature_is_how_much_chance_there_is(temperature: float, different: int) -> None:
    assert len(chosen(range(5), temperature, count=8)) == different


def test_a_seed_repeats_its_chance() -> None:
    assert len(chosen([7, 7, 7], count=8)) == 1
    assert len(chosen([1, 2, 3], count=8)) == 3


def test_without_a_seed_each_answer_has_its_own_chance() -> None:
    by_chance = Sampling(temperature=1, top_p=1, seed=None)
    first, second = Choice(by_chance, None), Choice(by_chance, None)
    assert [first.choose(LOGITS) for _ in range(9)] != [second.choose(LOGITS) for _ in range(9)]


def test_top_p_leaves_out_the_unlikely() -> None:
    shares = torch.softmax(LOGITS, dim=-1).flip(0)
    allowed = int((shares.cumsum(0) < 0.2).sum()) + 1
    drawn = {token for (token,) in chosen(range(60), top_p=0.2)}
    assert drawn <= set(range(40 - allowed, 40))
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1e-40, 1.0), (1e-300, 1.0), (5e-324, 0.5), (1.0, 5e-324)]
)
def test_numbers_too_small_for_float32_mean_the_likeliest(temperature: float, top_p: float) -> None:
    assert chosen(range(3), temperature, top_p) == {(39,)}


class Only:
    """Allows some tokens, of a vocabulary of 32 that is smaller than the model's."""

    grammar = ""

    def __init__(self, *tokens: int) -> None:
        self._mask = numpy.array([sum(1 << token for token in tokens)], dtype=numpy.int32)

    def allowed(self) -> TokenMask | None:
        return self._mask

    def advance(self, token: int) -> None:
        raise AssertionError("the answer tells it, when the token is no stop token")


@pytest.mark.parametrize("temperature", [0, 2.0])
def test_a_constraint_leaves_only_what_it_allows(temperature: float) -> None:
    constraint = Only(3, 17)
    choice = Choice(Sampling(temperature=temperature, top_p=1, seed=1), constraint)
    drawn = {choice.choose(LOGITS) for _ in range(20)}
    assert drawn == ({17} if temperature == 0 else {3, 17})


def test_a_constraint_without_a_way_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="the constraint allows no token"):
        Choice(Sampling(temperature=0, top_p=1, seed=1), Only()).choose(LOGITS)


def test_logits_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(ArithmeticError, match="not numbers"):
        Choice(Sampling(temperature=0, top_p=1, seed=1), None).choose(LOGITS * torch.nan)
