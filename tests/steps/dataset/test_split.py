from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from argotune.steps.dataset.columns import ColumnMapping
from argotune.steps.dataset.conversations import Conversations
from argotune.steps.dataset.messages import read_conversations
from argotune.steps.dataset.source import Batch
from argotune.steps.dataset.split import (
    DIGEST_BYTES,
    Ends,
    Keys,
    SeenRows,
    Split,
    digests,
    keys_of,
    question_keys,
)
from tests.steps.dataset.conversation import conversations


def pairs(prompts: list[str], answers: list[str]) -> Conversations:
    batch = Batch(
        numbers=np.arange(len(prompts)),
        columns={"a": pa.array(prompts), "b": pa.array(answers)},
        malformed=np.zeros(len(prompts), dtype=np.bool_),
        too_long=np.zeros(len(prompts), dtype=np.bool_),
    )
    return read_conversations(batch, ColumnMapping(prompt=("a",), response="b"))


def each(found: bytes) -> list[bytes]:
    return [found[start : start + DIGEST_BYTES] for start in range(0, len(found), DIGEST_BYTES)]


def random_keys(count: int, seed: int = 0) -> Keys:
    return np.random.default_rng(seed).integers(0, 2**64, size=(count, 4), dtype=np.uint64)


def test_digest_depends_on_the_row_only() -> None:
    found = each(digests(pairs(["x", "same", "y"], ["1", "row", "2"])))
    alone = each(digests(pairs(["same"], ["row"])))
    sliced = each(digests(pairs(["zzz", "same"], ["z", "row"]).select(np.array([False, True]))))
    assert found[1] == alone[0] == sliced[0]
    assert len(set(found)) == 3


def test_digest_is_over_roles_lengths_and_texts() -> None:
    """It names a dataset for years: it must not move with a library or a machine."""
    texts = [b"What is it?", "Ärger 😀".encode()]
    expected = bytes([1, 2]) + struct.pack("<qq", *map(len, texts)) + b"".join(texts)
    found = digests(pairs(["What is it?"], ["Ärger 😀"]))
    assert found == hashlib.sha256(expected).digest()


def test_text_that_moves_between_messages_gives_another_digest() -> None:
    found = each(digests(pairs(["ab", "a", "abc"], ["c", "bc", "."])))
    assert len(set(found)) == 3


def test_no_rows_have_no_digests() -> None:
    assert digests(pairs([], [])) == b""
    assert keys_of(b"").shape == (0, 4)


def of_questions(*questions: str) -> list[int]:
    return question_keys(pairs(list(questions), [f"{n}" for n in range(len(questions))])).tolist()


def test_question_is_the_same_in_other_spelling_and_with_another_answer() -> None:
    found = of_questions("What is  2+2?", "what is 2 + 2", "What is \uff3a + 2", "WHAT IS Z+2!\n")
    assert found[0] == found[1]
    assert found[2] == found[3] != found[0]


def test_questions_of_signs_alone_are_told_apart() -> None:
    assert len(set(of_questions("<=", ">=", "?", ""))) == 4


def test_system_message_and_later_turns_are_no_part_of_the_question() -> None:
    turns = [("user", "q"), ("assistant", "a")]
    found = question_keys(
        conversations(
            turns,
            [("system", "Be brief."), *turns],
            [*turns, ("user", "more"), ("assistant", "b")],
            [("assistant", "q")],
            [("user", "other"), ("assistant", "a")],
        )
    ).tolist()
    assert found[:4] == 4 * [found[0]]
    assert found[4] != found[0]


def test_question_is_a_hash_of_its_words() -> None:
    """It is on record for years: it must not move with a library or a machine."""
    digest = hashlib.sha256("was kostet der ärger".encode()).digest()
    assert of_questions("Was kostet der ÄRGER?") == [int.from_bytes(digest[:8], "little")]


def test_no_rows_have_no_questions() -> None:
    assert question_keys(pairs([], [])).shape == (0,)


def test_share_is_about_what_was_asked_for() -> None:
    questions = random_keys(100_000)[:, 0]
    for share in (0.0, 0.01, 0.1, 0.5):
        found = Split(share=share, seed=3).held_out_rows(questions).mean()
        assert found == pytest.approx(share, abs=0.006)


def test_seed_and_content_alone_decide() -> None:
    questions = random_keys(1000)[:, 0]
    first = Split(share=0.2, seed=1)
    held_out = first.held_out_rows(questions)
    shuffled = np.random.default_rng(1).permutation(1000)
    assert (held_out[shuffled] == first.held_out_rows(questions[shuffled])).all()
    assert (held_out != Split(share=0.2, seed=2).held_out_rows(questions)).any()


def test_larger_share_keeps_what_was_held_out() -> None:
    questions = random_keys(1000)[:, 0]
    small, large = (Split(share=share, seed=1).held_out_rows(questions) for share in (0.1, 0.3))
    assert (large >= small).all()


def test_single_questions_can_be_forced_to_a_side() -> None:
    questions = np.array([5, 7], dtype=np.uint64)
    every = Split(share=1.0, seed=0)
    assert replace(every, kept=5).held_out_rows(questions).tolist() == [False, True]
    none = Split(share=0.0, seed=0, held_out=frozenset({7}))
    assert none.held_out_rows(questions).tolist() == [False, True]


def test_nearest_question_goes_to_an_empty_side() -> None:
    questions = random_keys(50)[:, 0]
    split = Split(share=0.1, seed=0)
    order, ends = split.order(questions), Ends()
    for part in (slice(0, 20), slice(20, 50)):
        ends.add(questions[part], order[part])
    first, last = int(questions[order.argmin()]), int(questions[order.argmax()])
    all_to_train = split.repaired(ends, train_rows=50, held_out_rows=0)
    assert all_to_train.held_out == {first}
    assert split.repaired(ends, train_rows=0, held_out_rows=50).kept == last
    assert split.repaired(ends, train_rows=40, held_out_rows=10) == split


def test_rows_of_one_question_are_all_trained_on() -> None:
    questions = np.array([5, 5], dtype=np.uint64)
    split, ends = Split(share=0.1, seed=0), Ends()
    ends.add(questions, split.order(questions))
    assert split.repaired(ends, train_rows=2, held_out_rows=0) == split


def test_seen_rows_agree_with_a_set() -> None:
    chooser = random.Random(0)
    seen, expected = SeenRows(), set[int]()
    for size in [0, 1, 5000, 100, 40_000, 3]:
        numbers = [chooser.choice([chooser.randrange(30_000), 2**64 - 1, 0]) for _ in range(size)]
        keys = np.zeros((size, 4), dtype=np.uint64)
        # Neighbours in the table, to make collisions.
        keys[:, 0] = np.array(numbers, dtype=np.uint64)
        new = seen.add(keys)
        for number, is_new in zip(numbers, new.tolist(), strict=True):
            # 0 marks a free slot, and stands for 1.
            number = max(number, 1)
            assert is_new == (number not in expected)
            expected.add(number)


def test_of_equal_rows_in_one_batch_the_first_is_new() -> None:
    keys = np.repeat(random_keys(2), 3, axis=0)
    assert SeenRows().add(keys).tolist() == [True, False, False, True, False, False]
