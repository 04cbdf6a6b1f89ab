from __future__ import annotations

import hashlib
import random
import struct

import numpy as np
import pyarrow as pa
import pytest

from argotune.steps.dataset.columns import ColumnMapping
from argotune.steps.dataset.conversations import Conversations
from argotune.steps.dataset.messages import read_conversations
from argotune.steps.dataset.source import Batch
from argotune.steps.dataset.split import DIGEST_BYTES, Keys, SeenRows, Split, digests, keys_of


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


def test_share_is_about_what_was_asked_for() -> None:
    keys = random_keys(100_000)
    for share in (0.0, 0.01, 0.1, 0.5):
        split = Split(share=share, seed=3)
        found = split.held_out_rows(split.order(keys)).mean()
        assert found == pytest.approx(share, abs=0.006)


def test_seed_and_content_alone_decide() -> None:
    keys = random_keys(1000)
    first = Split(share=0.2, seed=1)
    held_out = first.held_out_rows(first.order(keys))
    shuffled = np.random.default_rng(1).permutation(1000)
    assert (held_out[shuffled] == first.held_out_rows(first.order(keys[shuffled]))).all()
    other = Split(share=0.2, seed=2)
    assert (held_out != other.held_out_rows(other.order(keys))).any()


def test_larger_share_keeps_what_was_held_out() -> None:
    keys = random_keys(1000)
    small, large = Split(share=0.1, seed=1), Split(share=0.3, seed=1)
    order = small.order(keys)
    assert (large.held_out_rows(order) >= small.held_out_rows(order)).all()


def test_single_rows_can_be_forced_to_a_side() -> None:
    order = np.array([5, 2**63], dtype=np.uint64)
    assert Split(share=0.1, seed=0, kept=5).held_out_rows(order).tolist() == [False, False]
    assert Split(share=0.0, seed=0, held_out=2**63).held_out_rows(order).tolist() == [False, True]


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
