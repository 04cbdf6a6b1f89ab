"""Counts of tokens, row by row and in sum."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from argotune.steps.dataset.message_fields import Codes, Flags

Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of n rows."""

    reasons: Codes
    """Index into REASONS, 0 for usable rows; shape (n,)."""
    details: dict[int, str]
    """Row, from 0 -> what the chat template says, where it refuses the row."""
    tokens: Counts
    """Tokens of each row up to max_length, shape (n,)."""
    learned_tokens: Counts
    """Those of them that are labels, shape (n,)."""
    cut_tokens: Counts
    """Tokens of each row beyond max_length, shape (n,)."""

    def select(self, rows: Flags) -> Judged:
        """The selected rows, without their details; `rows` has shape (n,)."""
        return Judged(
            reasons=self.reasons[rows],
            details={},
            tokens=self.tokens[rows],
            learned_tokens=self.learned_tokens[rows],
            cut_tokens=self.cut_tokens[rows],
        )


@dataclass(kw_only=True)
class TokenCounts:
    """Tokens of the rows of one side of the split."""

    tokens: int = 0
    """Up to max_length of each row."""
    learned_tokens: int = 0
    longest_row_tokens: int = 0
    """Of the longest row, as it was before it was cut."""
    cut_rows: int = 0
    cut_tokens: int = 0
    _lengths: list[Counts] = field(default_factory=list)

    def add(self, judged: Judged) -> None:
        """Count rows."""
        tokens, cut = judged.tokens, judged.cut_tokens
        self.tokens += int(tokens.sum())
        self.learned_tokens += int(judged.learned_tokens.sum())
        self.longest_row_tokens = max(self.longest_row_tokens, int((tokens + cut).max(initial=0)))
        self.cut_rows += int(np.count_nonzero(cut))
        self.cut_tokens += int(cut.sum())
        self._lengths.append(tokens)

    @property
    def lengths(self) -> Counts:
        """Tokens of each row up to max_length, in order; shape (rows,)."""
        return np.concatenate([np.zeros(0, dtype=np.int32), *self._lengths])
