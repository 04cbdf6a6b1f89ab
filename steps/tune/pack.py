"""Micro-batches of packed rows, without padding or split rows."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow
import torch

from argotune.steps.tokens.tokenise import TokenRows

SCHEMA = pyarrow.schema(
    [
        ("input_ids", pyarrow.list_(pyarrow.int32())),
        # One byte each: Arrow's booleans are bits, which cannot be memory-mapped as an array.
        ("labelled", pyarrow.list_(pyarrow.uint8())),
        ("document_lengths", pyarrow.list_(pyarrow.int32())),
        ("rows", pyarrow.list_(pyarrow.int64())),
    ]
)
"""One record per micro-batch; `rows` are the documents' row numbers in the split."""

_BATCH_PACKS = 256
"""Records of every batch except the last, so that an index gives the batch and the record."""


@dataclass(frozen=True)
class MicroBatch:
    """The input of one forward pass; the tensors are on the CPU until `to`."""

    input_ids: torch.Tensor
    """[1, tokens]"""
    position_ids: torch.Tensor
    """[1, tokens], from 0 in each document."""
    label_positions: torch.Tensor
    """[labels], positions whose next token is a label."""
    targets: torch.Tensor
    """[labels], the next token at each of these positions."""
    document_lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.input_ids.shape[1]

    @property
    def labels(self) -> int:
        """Number of labels."""
        return len(self.targets)

    def documents_apart(self) -> list[MicroBatch]:
        """Each document as a batch of its own, without labels."""
        lengths, none = list(self.document_lengths), self.targets[:0]
        pieces = zip(
            torch.split(self.input_ids, lengths, dim=1),
            torch.split(self.position_ids, lengths, dim=1),
            strict=True,
        )
        return [MicroBatch(ids, places, none, none, (ids.shape[1],)) for ids, places in pieces]

    def to(self, device: torch.device) -> MicroBatch:
        """The batch on a device, without waiting for the copy."""
        return MicroBatch(
            self.input_ids.to(device, non_blocking=True),
            self.position_ids.to(device, non_blocking=True),
            self.label_positions.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.document_lengths,
        )


class Packs:
    """All micro-batches of a split, created on access from Arrow record batches.

    The record batches may be in memory or in a memory-mapped file, which may exceed the memory.
    """

    def __init__(self, batches: Iterable[pyarrow.RecordBatch]) -> None:
        self._chunks = [_Chunk.of(batch) for batch in batches]
        self._sizes = [size for chunk in self._chunks for size in chunk.sizes()]

    def __len__(self) -> int:
        return len(self._sizes)

    def size(self, index: int) -> tuple[int, int]:
        """Number of tokens and labels of a micro-batch, without creating it."""
        return self._sizes[index]

    @property
    def tokens(self) -> int:
        """Number of tokens of all micro-batches."""
        return sum(tokens for tokens, _ in self._sizes)

    @property
    def longest(self) -> int:
        """Tokens of the longest document; 0 without any."""
        return max((int(chunk.lengths.max()) for chunk in self._chunks), default=0)

    def micro_batch(self, index: int) -> MicroBatch:
        """Micro-batch `index`, 0 to len - 1."""
        number, place = divmod(index, _BATCH_PACKS)
        chunk = self._chunks[number]
        tokens = slice(*chunk.token_starts[place : place + 2].tolist())
        documents = slice(*chunk.document_starts[place : place + 2].tolist())
        ids = chunk.ids[tokens].astype(np.int64)
        lengths = chunk.lengths[documents]
        starts = np.cumsum(lengths) - lengths
        learned = np.flatnonzero(chunk.labelled[tokens])
        return MicroBatch(
            input_ids=torch.from_numpy(ids)[None],
            position_ids=torch.from_numpy(np.arange(len(ids)) - np.repeat(starts, lengths))[None],
            label_positions=torch.from_numpy(learned - 1),
            targets=torch.from_numpy(ids[learned]),
            document_lengths=tuple(lengths.tolist()),
        )

    def documents(self) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]]:
        """Ids and labels of each document, in the order of the split's rows."""
        places = sorted(
            (row, number, end - length, end)
            for number, chunk in enumerate(self._chunks)
            for row, length, end in zip(
                chunk.rows.tolist(),
                chunk.lengths.tolist(),
                np.cumsum(chunk.lengths).tolist(),
                strict=True,
            )
        )
        for _, number, start, end in places:
            chunk = self._chunks[number]
            yield chunk.ids[start:end], chunk.labelled[start:end]

    @property
    def digest(self) -> str:
        """sha256:HEX over all tokens, labels and their order; a resumed run must have the same."""
        state = hashlib.sha256()
        for chunk in self._chunks:
            for array in vars(chunk).values():
                state.update(array)
        return f"sha256:{state.hexdigest()}"


@dataclass(frozen=True)
class _Chunk:
    """A record batch's memory as arrays, without copies."""

    ids: npt.NDArray[np.int32]
    labelled: npt.NDArray[np.bool_]
    token_starts: npt.NDArray[np.int32]
    """Start of each micro-batch in `ids` and `labelled`, and the end of the last one."""
    lengths: npt.NDArray[np.int32]
    """Number of tokens of each document."""
    rows: npt.NDArray[np.int64]
    """Row number of each document in the split."""
    document_starts: npt.NDArray[np.int32]
    """Start of each micro-batch in `lengths` and `rows`, and the end of the last one."""

    @staticmethod
    def of(batch: pyarrow.RecordBatch) -> _Chunk:
        ids, lengths = batch.column("input_ids"), batch.column("document_lengths")
        return _Chunk(
            ids=ids.values.to_numpy(),
            labelled=batch.column("labelled").values.to_numpy().view(np.bool_),
            token_starts=ids.offsets.to_numpy(),
            lengths=lengths.values.to_numpy(),
            rows=batch.column("rows").values.to_numpy(),
            document_starts=lengths.offsets.to_numpy(),
        )

    def sizes(self) -> list[tuple[int, int]]:
        labels = np.add.reduceat(self.labelled, self.token_starts[:-1], dtype=np.int64)
        return list(zip(np.diff(self.token_starts).tolist(), labels.tolist(), strict=True))


def pack(rows: TokenRows, bins: Sequence[Sequence[int]]) -> Iterator[pyarrow.RecordBatch]:
    """One record of SCHEMA for each micro-batch; `bins` has the row numbers of each."""
    return (
        _record_batch(rows, bins[first : first + _BATCH_PACKS])
        for first in range(0, len(bins), _BATCH_PACKS)
    )


def _record_batch(rows: TokenRows, bins: Sequence[Sequence[int]]) -> pyarrow.RecordBatch:
    numbers = np.concatenate([np.asarray(each, dtype=np.int64) for each in bins])
    lengths = rows.lengths[numbers]
    documents = _starts([len(each) for each in bins])
    tokens = _starts(lengths)[documents]
    spans = [slice(*rows.starts[number : number + 2]) for number in numbers]
    ids = np.concatenate([rows.ids[span] for span in spans])
    labelled = np.concatenate([rows.labelled[span] for span in spans])
    columns = [
        pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values))
        for offsets, values in (
            (tokens, ids),
            (tokens, labelled.view(np.uint8)),
            (documents, lengths.astype(np.int32)),
            (documents, numbers),
        )
    ]
    return pyarrow.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _starts(lengths: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Start offsets of consecutive items with these lengths, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


@functools.lru_cache(maxsize=2)
def epoch_order(packs: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of the micro-batches in an epoch.

    It depends only on the seed and the epoch, so that a run can resume at any step.
    """
    return tuple(np.random.default_rng([seed, epoch]).permutation(packs).tolist())
