from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from argotune.steps.dataset import near_duplicates
from argotune.steps.dataset.near_duplicates import Pairs, Signatures
from tests.steps.dataset.conversation import Row, conversations

WORDS = [f"w{number}" for number in range(500)]
TEXT = " ".join(random.Random(0).choices(WORDS, k=200))


def signatures(*rows: Row | str) -> Signatures:
    found = Signatures()
    found.add(conversations(*rows))
    return found


def pairs(found: Pairs) -> list[tuple[int, int]]:
    return list(zip(found.rows.tolist(), found.others.tolist(), strict=True))


def with_changed_words(text: str, count: int, seed: int = 0) -> str:
    words = text.split()
    for place in random.Random(seed).sample(range(len(words)), count):
        words[place] = "changed"
    return " ".join(words)


def jaccard(one: str, other: str) -> float:
    """What the signatures estimate, counted."""
    sets = [
        {tuple(words[n : n + 3]) for n in range(len(words) - 2)}
        for words in (f"{text} yes".split() for text in (one, other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_a_row_with_one_other_word_is_a_near_duplicate_of_the_earlier_row() -> None:
    found = signatures(TEXT, "quite another question", with_changed_words(TEXT, 1))
    assert pairs(found.similar_earlier()) == [(2, 0)]


def test_case_spaces_and_punctuation_make_no_difference() -> None:
    found = signatures("What is a list, in Python?", "what is  a LIST in python").similar_earlier()
    assert pairs(found) == [(1, 0)]
    assert found.similarity.tolist() == [1.0]


@pytest.mark.parametrize("changed", [1, 3, 5, 60])
def test_similarity_is_the_share_of_common_runs_of_three_words(changed: int) -> None:
    other = with_changed_words(TEXT, changed)
    found = signatures(TEXT, other).similar_earlier()
    real = jaccard(TEXT, other)
    if real > 0.9:
        assert found.similarity.tolist() == pytest.approx([real], abs=0.15)
    if real < 0.65:
        assert pairs(found) == []


def test_system_message_that_all_rows_share_is_no_similarity() -> None:
    rows: list[Row] = [
        [("system", TEXT), ("user", question), ("assistant", "yes")]
        for question in ("How old is the oak?", "Where does the ferry stop?")
    ]
    assert pairs(signatures(*rows).similar_earlier()) == []


def test_held_out_rows_are_compared_with_those_to_train_on_only() -> None:
    near = with_changed_words(TEXT, 1)
    found = signatures(near, TEXT, "quite another question", with_changed_words(TEXT, 2, 9))
    held_out = np.array([True, False, False, True])
    assert pairs(found.similar_among(held_out)) == [(0, 1), (3, 1)]
    assert pairs(found.similar_among(np.ones(4, dtype=np.bool_))) == []


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "今天天气很好我们一起去公园散步然后吃午饭再回家看电影"
    text += "明年春天想去山里看花也想学做面包还要多读几本历史书"
    found = signatures(text, text.replace("午", "晚"), "图书馆星期一不开门请星期二再来")
    assert pairs(found.similar_earlier()) == [(1, 0)]


def test_rows_without_words_are_not_compared() -> None:
    rows: list[Row] = [[("assistant", "!!!")], [("assistant", "...")]]
    assert pairs(signatures(*rows).similar_earlier()) == []


def test_batches_give_what_one_batch_gives() -> None:
    rows = [TEXT, "quite another question", with_changed_words(TEXT, 1)]
    batched = Signatures()
    for row in rows:
        batched.add(conversations(row))
    assert pairs(batched.similar_earlier()) == pairs(signatures(*rows).similar_earlier())


def test_each_row_is_compared_with_a_few_others_however_many_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []
    original = Signatures._similarity

    def counting(self: Signatures, rows: np.ndarray, others: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        compared.append(len(rows))
        return original(self, rows, others)

    monkeypatch.setattr(Signatures, "_similarity", counting)
    rows = [with_changed_words(TEXT, 2, seed) for seed in range(300)]
    found = signatures(*rows).similar_earlier()
    assert len(found.rows) > 100
    assert sum(compared) <= 16 * len(rows)


def test_rows_above_the_limit_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_ROWS", 3)
    found = Signatures()
    for row in itertools.repeat(TEXT, 5):
        found.add(conversations(row, row))
    assert found.rows == 3
    assert pairs(found.similar_earlier()) == [(1, 0), (2, 0)]
