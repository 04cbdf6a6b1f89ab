from __future__ import annotations

import numpy as np
import pytest
import torch

from steps.common.errors import PermanentError
from steps.tune.pack import epoch_order, pack
from steps.tune.tokenise import TokenRows


def rows_of(*lengths: int) -> TokenRows:
    """Rows that count up through all tokens, each labelled but for its first."""
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    labelled = np.ones(sum(lengths), dtype=np.bool_)
    labelled[starts[:-1]] = False
    return TokenRows(np.arange(sum(lengths), dtype=np.int32), labelled, starts)


def test_each_row_goes_into_the_fullest_micro_batch_with_room() -> None:
    packs = pack(rows_of(6, 5, 3, 4, 2), capacity_tokens=10)
    assert packs.bins == [[0, 3], [1, 2, 4]]


def test_every_row_is_in_one_micro_batch_within_its_capacity() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    packs = pack(rows_of(*lengths.tolist()), capacity_tokens=100)
    assert sorted(row for rows in packs.bins for row in rows) == list(range(500))
    assert max(int(lengths[rows].sum()) for rows in packs.bins) <= 100
    assert len(packs) <= 1.02 * lengths.sum() / 100 + 1


def test_positions_restart_and_first_tokens_are_not_learned() -> None:
    batch = pack(rows_of(3, 2), capacity_tokens=8).micro_batch(0)
    assert batch.input_ids.tolist() == [[0, 1, 2, 3, 4]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.label_positions.tolist() == [0, 1, 3]
    assert batch.targets.tolist() == [1, 2, 4]
    assert batch.document_lengths == (3, 2)
    assert (batch.tokens, batch.labels) == (5, 3)
    assert batch.input_ids.dtype == torch.int64


def test_a_row_longer_than_a_micro_batch_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        pack(rows_of(11, 2), capacity_tokens=10)
    assert str(caught.value) == (
        "a row has 11 tokens, but a micro-batch holds 10; the plan's training.micro_batch_tokens "
        "must not be below its max_length"
    )


def test_no_rows_make_no_micro_batches() -> None:
    assert len(pack(rows_of(), capacity_tokens=10)) == 0


def test_digest_tells_tokens_labels_and_places_apart() -> None:
    rows = rows_of(3, 2)
    unlabelled = TokenRows(rows.ids, np.zeros_like(rows.labelled), rows.starts)
    digests = {
        pack(rows, 8).digest,
        pack(rows, 4).digest,
        pack(unlabelled, 8).digest,
        pack(rows_of(2, 3), 8).digest,
    }
    assert len(digests) == 4
    assert pack(rows_of(3, 2), 8).digest == pack(rows, 8).digest


def test_epochs_have_orders_of_their_own_that_the_seed_repeats() -> None:
    orders = [epoch_order(50, seed=3, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(50, seed=3, epoch=1) == orders[1]
    assert epoch_order(50, seed=4, epoch=1) != orders[1]
