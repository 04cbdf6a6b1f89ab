"""Rows packed into micro-batches of a fixed token budget: no padding, no row cut in two."""

from __future__ import annotations

import bisect
import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from steps.common.errors import PermanentError
from steps.tune.tokenise import TokenRows


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes; the tensors are on the CPU until `to`."""

    input_ids: torch.Tensor
    """[1, tokens]"""
    position_ids: torch.Tensor
    """[1, tokens], from 0 in each document."""
    label_positions: torch.Tensor
    """Places whose next token is learned."""
    targets: torch.Tensor
    """The token to learn at each of these."""
    document_lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return self.input_ids.shape[1]

    @property
    def labels(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> MicroBatch:
        """The batch on a device, without waiting for the copy."""
        return MicroBatch(
            self.input_ids.to(device, non_blocking=True),
            self.position_ids.to(device, non_blocking=True),
            self.label_positions.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.document_lengths,
        )


@dataclass(frozen=True)
class Packs:
    """All micro-batches of a split, made when they are asked for."""

    rows: TokenRows
    bins: list[list[int]]
    """Row numbers of each micro-batch."""

    def __len__(self) -> int:
        return len(self.bins)

    def size(self, index: int) -> tuple[int, int]:
        """Tokens and labels of a micro-batch, without making it."""
        return self._sizes[index]

    @functools.cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        labels = np.diff(np.concatenate([[0], np.cumsum(self.rows.labelled)])[self.rows.starts])
        lengths = self.rows.lengths
        return [(int(lengths[rows].sum()), int(labels[rows].sum())) for rows in self.bins]

    def micro_batch(self, index: int) -> MicroBatch:
        """Micro-batch `index`, 0 to len - 1."""
        spans = [slice(*self.rows.starts[row : row + 2]) for row in self.bins[index]]
        ids = np.concatenate([self.rows.ids[span] for span in spans]).astype(np.int64)
        labelled = np.concatenate([self.rows.labelled[span] for span in spans])
        lengths = tuple(int(span.stop - span.start) for span in spans)
        learned = np.flatnonzero(labelled)
        return MicroBatch(
            input_ids=torch.from_numpy(ids)[None],
            position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))[None],
            label_positions=torch.from_numpy(learned - 1),
            targets=torch.from_numpy(ids[learned]),
            document_lengths=lengths,
        )

    @property
    def digest(self) -> str:
        """sha256:HEX over every token, label and place; a resumed run must have the same."""
        state = hashlib.sha256()
        for array in (self.rows.ids, self.rows.labelled, self.rows.starts):
            state.update(array.tobytes())
        for rows in self.bins:
            state.update(np.asarray([len(rows), *rows], dtype=np.int64).tobytes())
        return f"sha256:{state.hexdigest()}"


def pack(rows: TokenRows, capacity_tokens: int) -> Packs:
    """Best-fit decreasing: each row, longest first, into the fullest micro-batch that has room."""
    if rows.longest > capacity_tokens:
        raise PermanentError(
            f"a row has {rows.longest} tokens, but a micro-batch holds {capacity_tokens}; "
            "the plan's training.micro_batch_tokens must not be below its max_length"
        )
    bins: list[list[int]] = []
    open_bins: dict[int, list[int]] = {}  # free tokens -> bins
    free_sizes: list[int] = []  # sorted keys of open_bins
    for row in np.argsort(-rows.lengths, kind="stable").tolist():
        length = int(rows.lengths[row])
        found = bisect.bisect_left(free_sizes, length)
        if found == len(free_sizes):
            bins.append([row])
            _open(open_bins, free_sizes, capacity_tokens - length, len(bins) - 1)
            continue
        free = free_sizes[found]
        chosen = open_bins[free].pop()
        if not open_bins[free]:
            del open_bins[free], free_sizes[found]
        bins[chosen].append(row)
        _open(open_bins, free_sizes, free - length, chosen)
    return Packs(rows, bins)


@functools.lru_cache(maxsize=2)
def epoch_order(packs: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of the micro-batches in an epoch; from the seed alone, so that any step of a run
    can be gone to without having done those before it."""
    return tuple(np.random.default_rng([seed, epoch]).permutation(packs).tolist())


def _open(open_bins: dict[int, list[int]], free_sizes: list[int], free: int, index: int) -> None:
    if free <= 0:
        return
    if free not in open_bins:
        open_bins[free] = []
        bisect.insort(free_sizes, free)
    open_bins[free].append(index)
