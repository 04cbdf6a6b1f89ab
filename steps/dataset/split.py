"""Find duplicate rows and choose held-out rows, both by content hash.

The choice depends only on a row's content and the seed. Another order of the files, additional
rows or another run does not change it for existing rows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from argotune.steps.dataset.conversations import Conversations, flags

Keys = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

DIGEST_BYTES = 32
_PIECE = 1 << 16


def digests(conversations: Conversations) -> bytes:
    """The concatenated SHA-256 digests of the rows, 32 bytes each.

    They are of roles, lengths and texts, of what is learned where an answer of the row is not, and
    of further fields and tools where the row has some.
    """
    starts = conversations.starts()
    offsets, text = _text_bytes(conversations)
    roles = conversations.roles.tobytes()
    # The lengths distinguish ["ab", "c"] from ["a", "bc"].
    sizes = np.diff(offsets).astype("<i8").tobytes()
    learned = conversations.learned.tobytes()
    is_partial = conversations.any_message(conversations.unlearned_answers()).tolist()
    more = _more(conversations)
    ends = offsets[starts].tolist()
    first, found = 0, []
    for index, last in enumerate(starts[1:].tolist()):
        row = roles[first:last] + sizes[8 * first : 8 * last] + text[ends[index] : ends[index + 1]]
        if is_partial[index]:
            row += learned[first:last]
        row += more.get(index, b"")
        found.append(hashlib.sha256(row).digest())
        first = last
    return b"".join(found)


def _more(conversations: Conversations) -> dict[int, bytes]:
    """The fields and tools of the rows that have some, by the row's index."""
    found: dict[int, list[object]] = {}
    rows = np.repeat(np.arange(len(conversations.lengths)), conversations.lengths)
    position = conversations.position()
    for name, values in sorted(conversations.fields.items()):
        for index in np.flatnonzero(flags(values.is_valid())).tolist():
            field = [name, int(position[index]), values[index].as_py()]
            found.setdefault(int(rows[index]), []).append(field)
    tools = [] if conversations.tools is None else conversations.tools.to_pylist()
    for row, text in enumerate(tools):
        if text is not None:
            found.setdefault(row, []).append(text)
    return {row: json.dumps(values).encode() for row, values in found.items()}


def _text_bytes(conversations: Conversations) -> tuple[npt.NDArray[np.int64], bytes]:
    """Offsets of the messages' texts, shape (m + 1,), and the bytes of all texts."""
    contents = conversations.contents
    _, offset_buffer, data = contents.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)
    offsets = offsets[contents.offset : contents.offset + len(contents) + 1]
    if data is None or len(offsets) == 0:
        return np.zeros(len(contents) + 1, dtype=np.int64), b""
    first, last = int(offsets[0]), int(offsets[-1])
    return offsets - first, data.slice(first, last - first).to_pybytes()


def keys_of(row_digests: bytes) -> Keys:
    """Each digest as four 64-bit numbers, shape (n, 4)."""
    return np.frombuffer(row_digests, dtype="<u8").reshape(-1, 4).astype(np.uint64)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rule that chooses the held-out rows."""

    share: float
    """Share of held-out rows, 0 to 0.5."""
    seed: int
    held_out: int | None = None
    """Order of a row that is held out regardless of the share, if a small dataset has no other."""
    kept: int | None = None
    """Order of a row that is used for training regardless of the share."""

    def order(self, keys: Keys) -> Keys:
        """A 64-bit number per row, uniformly distributed and dependent on the seed; shape (n,)."""
        with np.errstate(over="ignore"):
            seed = _mix(np.array([self.seed % 2**64], dtype=np.uint64))
            mixed: Keys = _mix(keys[:, 2] ^ seed)
        return mixed

    def held_out_rows(self, order: Keys) -> Flags:
        """Which rows are held out: those whose order is below the share; shape (n,)."""
        rows: Flags = order < np.uint64(min(2**64 - 1, int(self.share * 2**64)))
        if self.held_out is not None:
            rows |= order == np.uint64(self.held_out)
        if self.kept is not None:
            rows &= order != np.uint64(self.kept)
        return rows


def _mix(numbers: Keys) -> Keys:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014): every output bit depends on all bits."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


class SeenRows:
    """A set of 64-bit row digests, a hash table with linear probing; 0 is a free slot.

    It takes 13 to 27 bytes per row (a Python set takes 100) and is the only memory of the step
    that grows with the dataset. The probability that any two different rows among n count as
    duplicates is n^2 / 2^65: 1 in 3,700 for 100 million rows.
    """

    _FULL = 0.6

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 12, dtype=np.uint64)
        self._count = 0

    def add(self, keys: Keys) -> Flags:
        """Add rows; returns which were new (of equal rows only the first), shape (n,)."""
        new = np.zeros(len(keys), dtype=np.bool_)
        distinct, first = np.unique(np.maximum(keys[:, 0], np.uint64(1)), return_index=True)
        self._reserve(len(distinct))
        new[first] = self._insert(distinct)
        return new

    def _reserve(self, more: int) -> None:
        size = len(self._slots)
        while self._count + more > self._FULL * size:
            size *= 2
        if size == len(self._slots):
            return
        old = self._slots
        self._slots = np.zeros(size, dtype=np.uint64)
        self._count = 0
        # In chunks, because inserting rows takes ten times their own memory.
        for start in range(0, len(old), _PIECE):
            piece = old[start : start + _PIECE]
            self._insert(piece[piece != 0])

    def _insert(self, keys: Keys) -> Flags:
        """Insert distinct keys; returns which of them were new."""
        new = np.zeros(len(keys), dtype=np.bool_)
        mask = len(self._slots) - 1
        places = (keys & np.uint64(mask)).astype(np.int64)
        pending = np.arange(len(keys))
        while len(pending):
            at, wanted = places[pending], keys[pending]
            free = self._slots[at] == 0
            # Of several keys for the same free slot, the last one written gets it.
            self._slots[at[free]] = wanted[free]
            here = self._slots[at] == wanted
            new[pending[here & free]] = True
            pending = pending[~here]
            places[pending] = (places[pending] + 1) & mask
        self._count += int(new.sum())
        return new
