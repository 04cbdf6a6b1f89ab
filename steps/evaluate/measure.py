"""Losses of one model on held-out rows, a sum for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.causal_lm.head import Head
from argotune.steps.causal_lm.loss import summed_loss
from argotune.steps.evaluate.decide import Losses, Tokens
from argotune.steps.tokens.tokenise import TokenRows


def learned_tokens(rows: TokenRows) -> Tokens:
    """Number of labels of each row, [rows]."""
    return np.add.reduceat(rows.labelled, rows.starts[:-1], dtype=np.int64)


@torch.no_grad()
def row_losses(
    model: Any,
    rows: TokenRows,
    device: Device,
    *,
    batch_tokens: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Losses:
    """The summed loss of each row's labels, nats; `on_rows` gets the number of rows so far.

    A batch has at most `batch_tokens` tokens with its padding, unless one row alone has more. The
    padding is at the end, where a causal model's tokens do not see it, so no mask is needed.
    """
    base = model.get_base_model()
    decoder, head = base.get_decoder(), Head.of(base)
    losses = np.zeros(len(rows))
    done = 0
    for batch in _batches(rows.lengths, batch_tokens):
        spans = [slice(*rows.starts[row : row + 2]) for row in batch]
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(rows.ids[span].astype(np.int64)) for span in spans],
            batch_first=True,
        ).to(device.torch_device)
        with device.precision():
            states = decoder(input_ids=ids, use_cache=False).last_hidden_state
            for place, (row, span) in enumerate(zip(batch, spans, strict=True)):
                # Where blocks are spread over GPUs, the states are on the last one.
                learned = torch.from_numpy(np.flatnonzero(rows.labelled[span])).to(states.device)
                targets = ids[place].to(states.device)[learned]
                losses[row] = summed_loss(states[place : place + 1], learned - 1, targets, head)
        done += len(batch)
        on_rows(done)
    return losses


def _batches(lengths: Tokens, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers of each batch, longest rows first, so that a batch has little padding."""
    batch: list[int] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
