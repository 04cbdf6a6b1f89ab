"""Find duplicate rows, and choose held-out rows by the hash of their question.

Which rows are held out depends only on their first question and the seed. Another order of the
files, additional rows, another answer or another run does not change it for existing rows, and the
same question never stands on both sides. A conversation that goes on, or a row for each of its
turns, begins with the same question. System messages do not count: many rows share one, and a new
wording of it would deal out all rows anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from argotune.steps.dataset.conversations import SYSTEM, Conversations, flags

Keys = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

DIGEST_BYTES = 32
_PIECE = 1 << 16
_NOT_A_WORD = r"[^\pL\pN]+"


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


def question_keys(conversations: Conversations) -> Keys:
    """A 64-bit number of each row's first question, shape (n,); that of a text without one is its.

    Case, spaces, punctuation and Unicode's compatible forms make no other question.
    """
    said = conversations.without(conversations.roles == SYSTEM)
    questions = said.contents.take(pa.array(said.starts()[:-1]))
    words = pc.utf8_lower(pc.utf8_normalize(questions, form="NFKC"))
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(words, _NOT_A_WORD, " "))
    # Signs alone, such as an operator in a question about a language, are told apart as they are.
    words = pc.if_else(pc.equal(pc.binary_length(words), 0), questions, words)
    found = (hashlib.sha256(text.encode()).digest()[:8] for text in words.to_pylist())
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64)


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
    """Rule that chooses the held-out rows by their questions (`question_keys`)."""

    share: float
    """Share of held-out questions, 0 to 0.5."""
    seed: int
    held_out: frozenset[int] = frozenset()
    """Questions that are held out whatever the share: those of small datasets that have no other,
    and of earlier runs (steps/dataset/held_out.py)."""
    kept: int | None = None
    """Question that is trained on whatever else holds, if a small dataset has no other."""

    def order(self, questions: Keys) -> Keys:
        """A 64-bit number per row, uniformly distributed and dependent on the seed; shape (n,)."""
        with np.errstate(over="ignore"):
            seed = _mix(np.array([self.seed % 2**64], dtype=np.uint64))
            mixed: Keys = _mix(questions ^ seed)
        return mixed

    def held_out_rows(self, questions: Keys) -> Flags:
        """Which rows are held out: those whose order is below the share; shape (n,)."""
        limit = np.uint64(min(2**64 - 1, int(self.share * 2**64)))
        rows: Flags = self.order(questions) < limit
        if self.held_out:
            rows |= np.isin(questions, np.array(sorted(self.held_out), dtype=np.uint64))
        if self.kept is not None:
            rows &= questions != np.uint64(self.kept)
        return rows

    def repaired(self, questions: Ends, *, train_rows: int, held_out_rows: int) -> Split:
        """The rule that leaves neither side of a small dataset empty, where it has two questions.

        The hash may put all of them on one side; then the nearest one changes over.
        """
        if train_rows == 0:
            return replace(self, kept=questions.last)
        if held_out_rows or not self.share or questions.first is None:
            return self
        if questions.first == questions.last:
            return self
        return replace(self, held_out=self.held_out | {questions.first})


@dataclass
class Ends:
    """The questions of lowest and highest order so far; None before the first row."""

    first: int | None = None
    """It is held out before all others."""
    last: int | None = None
    _lowest: int = 2**64
    _highest: int = -1

    def add(self, questions: Keys, order: Keys) -> None:
        """Add rows; both shapes (n,), n at least 1."""
        low, high = int(order.argmin()), int(order.argmax())
        if int(order[low]) < self._lowest:
            self.first, self._lowest = int(questions[low]), int(order[low])
        if int(order[high]) > self._highest:
            self.last, self._highest = int(questions[high]), int(order[high])


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
