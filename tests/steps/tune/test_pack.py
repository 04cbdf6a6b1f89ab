from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow
import torch

from argotune.steps.contracts.steps_of_run import best_fit
from argotune.steps.tokens.tokenise import TokenRows
from argotune.steps.tune.pack import Packs, epoch_order, pack


def rows_of(*lengths: int) -> TokenRows:
    """Rows that count up through all tokens, each labelled but for its first."""
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    labelled = np.ones(sum(lengths), dtype=np.bool_)
    labelled[starts[:-1]] = False
    return TokenRows(np.arange(sum(lengths), dtype=np.int32), labelled, starts)


def packed(rows: TokenRows, capacity_tokens: int) -> Packs:
    return Packs(pack(rows, best_fit(rows.lengths.tolist(), capacity_tokens)))


def row_numbers(batches: Iterable[pyarrow.RecordBatch]) -> list[list[int]]:
    """Which rows are in each micro-batch."""
    return [rows for batch in batches for rows in batch.column("rows").to_pylist()]


def test_every_row_is_in_one_micro_batch_within_its_capacity() -> None:
    """Of more than two Arrow batches."""
    lengths = np.random.default_rng(0).integers(1, 60, 2000)
    batches = list(pack(rows_of(*lengths.tolist()), best_fit(lengths.tolist(), 100)))
    packs, numbers = Packs(batches), row_numbers(batches)
    assert len(packs) == len(numbers)
    assert sorted(row for rows in numbers for row in rows) == list(range(2000))
    assert max(int(lengths[rows].sum()) for rows in numbers) <= 100
    assert 512 < len(packs) <= 1.02 * lengths.sum() / 100 + 1
    assert packs.tokens == lengths.sum()
    for index, rows in enumerate(numbers):
        batch = packs.micro_batch(index)
        assert batch.document_lengths == tuple(lengths[rows].tolist())
        assert packs.size(index) == (batch.tokens, batch.labels)
        assert batch.labels == lengths[rows].sum() - len(rows)
        ends = np.cumsum(lengths)
        firsts = batch.input_ids[0][batch.position_ids[0] == 0]
        assert firsts.tolist() == (ends - lengths)[rows].tolist()


def test_documents_come_in_the_order_of_their_rows() -> None:
    rows = rows_of(2, 6, 5, 3)
    packs = packed(rows, 8)
    assert packs.longest == 6
    assert [ids.tolist() for ids, _ in packs.documents()] == [
        [0, 1],
        [2, 3, 4, 5, 6, 7],
        [8, 9, 10, 11, 12],
        [13, 14, 15],
    ]
    _, labelled = next(packs.documents())
    assert labelled.tolist() == [False, True]


def test_positions_restart_and_first_tokens_are_not_learned() -> None:
    batch = packed(rows_of(3, 2), 8).micro_batch(0)
    assert batch.input_ids.tolist() == [[0, 1, 2, 3, 4]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.label_positions.tolist() == [0, 1, 3]
    assert batch.targets.tolist() == [1, 2, 4]
    assert batch.document_lengths == (3, 2)
    assert (batch.tokens, batch.labels) == (5, 3)
    assert batch.input_ids.dtype == torch.int64


def test_no_rows_make_no_micro_batches() -> None:
    packs = packed(rows_of(), 10)
    assert (len(packs), packs.tokens, packs.longest, [*packs.documents()]) == (0, 0, 0, [])


def test_digest_tells_tokens_labels_and_places_apart() -> None:
    rows = rows_of(3, 2)
    unlabelled = TokenRows(rows.ids, np.zeros_like(rows.labelled), rows.starts)
    digests = {
        packed(rows, 8).digest,
        packed(rows, 4).digest,
        packed(unlabelled, 8).digest,
        packed(rows_of(2, 3), 8).digest,
    }
    assert len(digests) == 4
    assert packed(rows_of(3, 2), 8).digest == packed(rows, 8).digest


def test_epochs_have_orders_of_their_own_that_the_seed_repeats() -> None:
    orders = [epoch_order(50, seed=3, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(50, seed=3, epoch=1) == orders[1]
    assert epoch_order(50, seed=4, epoch=1) != orders[1]
