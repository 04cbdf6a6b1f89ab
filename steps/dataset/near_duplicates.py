"""Find rows that say nearly the same, by MinHash, in time linear in the rows.

A row is the set of its runs of three words, without its system message, which all rows may share.
Two rows are near duplicates if they share MIN_SIMILARITY of all runs that either has (their Jaccard
similarity), as signatures of 64 numbers estimate it, with a standard error of 0.05 (Broder 1997).
A row is compared with the first one that has the same four numbers at one of 16 places of the
signature (Leskovec et al., Mining of Massive Datasets, 3.4), so with 16 rows at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rensa import RMinHash

from argotune.steps.dataset.conversations import SYSTEM, Conversations
from argotune.steps.dataset.message_fields import Flags

MIN_SIMILARITY = 0.8
"""As Lee et al. 2022, Deduplicating Training Data Makes Language Models Better, found useful."""
MOST_ROWS = 250_000
"""Rows that are compared: 64 MB of signatures."""
_HASHES = 64
_BAND = 4
_SEED = 1
_CHUNK_ROWS = 1 << 15

_Hashes = npt.NDArray[np.uint64]
_Places = npt.NDArray[np.int64]

_NOT_A_WORD = r"[^\pL\pN]+"
_WITHOUT_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])"
"""Scripts that put no spaces between words: each of their characters counts as a word."""


@dataclass(frozen=True)
class Pairs:
    """Rows beside the row that each is most similar to."""

    rows: _Places
    """Places of the rows, in the order in which they were added, from 0; shape (n,)."""
    others: _Places
    """Place of the similar row of each; shape (n,)."""
    similarity: npt.NDArray[np.float64]
    """Estimated Jaccard similarity, MIN_SIMILARITY to 1; shape (n,)."""


class Signatures:
    """The MinHash signatures of the first MOST_ROWS rows."""

    def __init__(self) -> None:
        # The system gives memory only for what is written.
        self._numbers = np.empty((MOST_ROWS, _HASHES), dtype=np.uint32)
        self._has_words = np.zeros(MOST_ROWS, dtype=np.bool_)
        self.rows = 0
        """Rows so far, at most MOST_ROWS."""

    @property
    def is_full(self) -> bool:
        """Whether further rows are not compared."""
        return self.rows == MOST_ROWS

    def add(self, conversations: Conversations) -> None:
        """Add the rows behind the earlier ones, as far as there is room."""
        if self.is_full:
            return
        lengths, words = _words(conversations)
        hashes, starts = _runs_of_three(words, lengths)
        added = slice(self.rows, min(MOST_ROWS, self.rows + len(lengths)))
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, _HASHES, _SEED)
        count = added.stop - added.start
        self._numbers[added] = np.array(matrix.to_rows(), dtype=np.uint32)[:count]
        self._has_words[added] = (lengths > 0)[:count]
        self.rows = added.stop

    def similar_earlier(self) -> Pairs:
        """The rows that have a near duplicate before them."""
        every = np.flatnonzero(self._has_words[: self.rows])
        return self._most_similar(every, every)

    def similar_among(self, held_out: Flags) -> Pairs:
        """The held-out rows that have a near duplicate among the others; shape (rows,)."""
        usable = self._has_words[: self.rows]
        return self._most_similar(
            np.flatnonzero(usable & held_out), np.flatnonzero(usable & ~held_out)
        )

    def _most_similar(self, rows: _Places, among: _Places) -> Pairs:
        """For each of the rows its most similar candidate, if that is similar enough."""
        best = np.zeros(len(rows), dtype=np.float64)
        other = np.full(len(rows), -1, dtype=np.int64)
        for start in range(0, _HASHES, _BAND):
            band = self._numbers[:, start : start + _BAND]
            candidates = _first_with_same_key(_keys(band[rows]), _keys(band[among]), among)
            compared = np.flatnonzero((candidates >= 0) & (candidates != rows))
            similarity = self._similarity(rows[compared], candidates[compared])
            better = similarity > best[compared]
            best[compared[better]] = similarity[better]
            other[compared[better]] = candidates[compared[better]]
        found = best >= MIN_SIMILARITY
        return Pairs(rows[found], other[found], best[found])

    def _similarity(self, rows: _Places, others: _Places) -> npt.NDArray[np.float64]:
        """Share of equal numbers of the two signatures; shape (n,)."""
        found = np.empty(len(rows), dtype=np.float64)
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            equal = self._numbers[rows[chunk]] == self._numbers[others[chunk]]
            found[chunk] = equal.mean(axis=1)
        return found


def _words(conversations: Conversations) -> tuple[_Places, _Hashes]:
    """Number of words of each row, (n,), and a hash of each word, (words,)."""
    said = conversations.without(conversations.roles == SYSTEM)
    texts = pc.utf8_lower(said.contents)
    if pc.any(pc.match_substring_regex(texts, _WITHOUT_SPACES)).as_py():
        texts = pc.replace_substring_regex(texts, _WITHOUT_SPACES, r" \1 ")
    split = pc.split_pattern_regex(texts, _NOT_A_WORD)
    parts = split.flatten()
    is_word = np.asarray(pc.not_equal(pc.binary_length(parts), 0), dtype=np.bool_)
    of_message = np.repeat(np.arange(len(texts)), pc.list_value_length(split).to_numpy())
    of_row = np.repeat(np.arange(len(said.lengths)), said.lengths)
    counts = np.bincount(of_row[of_message[is_word]], minlength=len(said.lengths))
    # Each different word is hashed once.
    encoded = parts.filter(pa.array(is_word)).dictionary_encode()
    hashed = RMinHash.hash_token_sets([encoded.dictionary.to_pylist()])[0]
    return counts, np.array(hashed, dtype=np.uint64)[encoded.indices.to_numpy()]


def _runs_of_three(words: _Hashes, lengths: _Places) -> tuple[_Hashes, _Hashes]:
    """A hash of each run of three words, and where each row's begin, shape (n + 1,).

    A row of one or two words is one run.
    """
    ends = np.cumsum(lengths)
    counts = np.maximum(lengths - 2, lengths > 0)
    starts = np.concatenate(([0], np.cumsum(counts)))
    first = np.repeat(ends - lengths - starts[:-1], counts) + np.arange(starts[-1])
    end = np.repeat(ends, counts)
    runs = np.zeros(len(first), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(3):
            inside = first + place < end
            word = np.where(inside, words[np.minimum(first + place, len(words) - 1)], np.uint64(0))
            runs = (runs ^ word) * np.uint64(0x9E3779B97F4A7C15)
            runs ^= runs >> np.uint64(29)
    return runs, starts.astype(np.uint64)


def _keys(band: npt.NDArray[np.uint32]) -> _Hashes:
    """The four numbers of each row's band as one; shapes (n, 4) -> (n,)."""
    halves: _Hashes = np.ascontiguousarray(band).view(np.uint64)
    with np.errstate(over="ignore"):
        mixed: _Hashes = (halves[:, 0] * np.uint64(0x9E3779B97F4A7C15)) ^ halves[:, 1]
    return mixed


def _first_with_same_key(keys: _Hashes, among: _Hashes, places: _Places) -> _Places:
    """The first of the places with the key of each row, or -1; shape of `keys`."""
    if not len(among):
        return np.full(len(keys), -1, dtype=np.int64)
    known, first = np.unique(among, return_index=True)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, places[first[at]], -1)
