"""Collect what the rows say about themselves while they are read, for data.json."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from argotune.steps.contracts.data_report import (
    MOST_PLACES,
    Bin,
    Duplicates,
    Finding,
    Pair,
    Pairs,
    Part,
    Place,
    Sample,
    Steps,
    Tokens,
)
from argotune.steps.contracts.dataset_rows import ROLES
from argotune.steps.contracts.steps_of_run import RunSteps
from argotune.steps.dataset.conversations import Conversations
from argotune.steps.dataset.message_fields import Flags
from argotune.steps.dataset.near_duplicates import Pairs as SimilarRows
from argotune.steps.dataset.near_duplicates import Signatures
from argotune.steps.dataset.sensitive import FORMS, count_sensitive, mask
from argotune.steps.dataset.token_counts import Judged, TokenCounts

if TYPE_CHECKING:
    from argotune.steps.dataset.judge import Judge
    from argotune.steps.tokens.tokenise import TokenRow

SAMPLES = 5
"""Rows whose texts are kept for the page, unless another number is asked for."""
_MOST_CHARACTERS = 2000
"""Of a part of such a row."""
_MOST_BARS = 20

Numbers = npt.NDArray[np.int64]


class Rows:
    """Counts of rows, and the places of the first."""

    def __init__(self) -> None:
        self._rows = 0
        self._values = 0
        self._first: list[Place] = []

    def add(self, file: int, numbers: Numbers, values: int = 0) -> None:
        """Add rows of a file, which have that many values together."""
        self._rows += len(numbers)
        self._values += values
        room = MOST_PLACES - len(self._first)
        self._first += [Place(file=file, row=row) for row in numbers[:room].tolist()]

    def finding(self, what: str, *, has_values: bool = False) -> Finding:
        """The counts as a finding."""
        values = self._values if has_values else None
        return Finding(what=what, rows=self._rows, first=list(self._first), values=values)


class Findings:
    """What was found in the rows so far. It takes 10 bytes a row, and 270 of the first 250,000."""

    def __init__(self, judge: Judge | None = None, samples: int = SAMPLES) -> None:
        """`judge` tokenizes the rows whose texts are kept; there are `samples` of them."""
        self._judge = judge
        self._most_samples = samples
        self._samples: list[Sample] = []
        self._repeated = Rows()
        self._asked = Rows()
        self._sensitive: dict[str, Rows] = {}
        self._cut = Rows()
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._held_out: list[Flags] = []
        self._signatures = Signatures()
        self._places: list[tuple[int, Numbers]] = []

    def add_repeated(self, file: int, numbers: Numbers) -> None:
        """Count rows that are dropped because an earlier one says the same; shape (n,)."""
        self._repeated.add(file, numbers)

    def add_asked(self, file: int, numbers: Numbers) -> None:
        """Count rows that are dropped because a validation file asks the same; shape (n,)."""
        self._asked.add(file, numbers)

    def add(
        self,
        file: int,
        numbers: Numbers,
        conversations: Conversations,
        held_out: Flags,
        judged: Judged | None,
    ) -> None:
        """Add n rows of a file that are kept.

        Args:
            file: Index of the file.
            numbers: Of the rows, shape (n,).
            conversations: The same rows.
            held_out: Which are not trained on, shape (n,).
            judged: The same rows; None where nobody counts tokens.
        """
        self._add_samples(file, numbers, conversations, held_out)
        self._add_sensitive(file, numbers, conversations)
        if judged is not None:
            cut = judged.cut_tokens
            self._cut.add(file, numbers[cut > 0], int(cut.sum()))
            self._lengths.append(judged.tokens + cut)
        if not self._signatures.is_full:
            self._held_out.append(held_out)
            self._places.append((file, numbers))
            self._signatures.add(conversations)

    def _add_samples(
        self, file: int, numbers: Numbers, conversations: Conversations, held_out: Flags
    ) -> None:
        room = self._most_samples - len(self._samples)
        if room <= 0:
            return
        first = conversations.select(np.arange(len(numbers)) < room)
        texts = _as_they_are(first) if self._judge is None else map(_parts, self._judge.rows(first))
        sides = zip(numbers[:room].tolist(), held_out[:room].tolist(), strict=True)
        for (tokens, parts), (number, is_held_out) in zip(texts, sides, strict=True):
            place = Place(file=file, row=number)
            self._samples.append(
                Sample(place=place, held_out=is_held_out, tokens=tokens, parts=parts)
            )

    def _add_sensitive(self, file: int, numbers: Numbers, conversations: Conversations) -> None:
        for kind, counts in count_sensitive(conversations).items():
            rows = self._sensitive.setdefault(kind, Rows())
            rows.add(file, numbers[counts > 0], int(counts.sum()))

    def sensitive(self) -> list[Finding]:
        """The secrets by kind, in the order of the table of forms."""
        return [
            self._sensitive[form.kind].finding(form.kind, has_values=True)
            for form in FORMS
            if form.kind in self._sensitive
        ]

    def samples(self) -> list[Sample]:
        """The first rows, as the model reads them."""
        return self._samples

    def duplicates(self) -> Duplicates:
        """Rows that say the same, and nearly the same."""
        compared = self._signatures.rows
        held_out = np.concatenate([np.zeros(0, np.bool_), *self._held_out])[:compared]
        return Duplicates(
            exact=self._repeated.finding("repeat an earlier row"),
            asked=self._asked.finding("ask what a validation file asks"),
            near=self._pairs(self._signatures.similar_earlier()),
            on_both_sides=self._pairs(self._signatures.similar_among(held_out)),
            compared_rows=compared,
        )

    def tokens(
        self,
        train: TokenCounts | None,
        held_out: TokenCounts | None,
        max_length: int,
        steps: RunSteps | None,
    ) -> Tokens | None:
        """Counts of tokens, which are cut at max_length, and the steps that tune makes of them.

        None without a judge, or a row to train on.
        """
        if train is None or held_out is None or not train.tokens:
            return None
        lengths = np.concatenate(self._lengths)
        return Tokens(
            train=train.tokens,
            learned=train.learned_tokens,
            held_out=held_out.tokens,
            steps=None if steps is None else _steps(steps, train.tokens),
            max_length=max_length,
            cut=self._cut.finding("longer than max_length", has_values=True),
            lengths=histogram(lengths),
            median=int(np.median(lengths)),
            longest=int(lengths.max()),
        )

    def _pairs(self, found: SimilarRows) -> Pairs:
        shown = slice(0, MOST_PLACES)
        rows = zip(
            found.rows[shown].tolist(),
            found.others[shown].tolist(),
            found.similarity[shown].tolist(),
            strict=True,
        )
        return Pairs(
            rows=len(found.rows),
            first=[
                Pair(place=self._place(row), other=self._place(other), similarity=round(share, 2))
                for row, other, share in rows
            ],
        )

    def _place(self, index: int) -> Place:
        for file, numbers in self._places:
            if index < len(numbers):
                return Place(file=file, row=int(numbers[index]))
            index -= len(numbers)
        raise IndexError(index)


def _steps(steps: RunSteps, tokens: int) -> Steps:
    """The steps of a run with this many tokens an epoch."""
    return Steps(
        total=steps.total,
        per_epoch=steps.per_epoch,
        tokens_per_step=steps.tokens_per_step,
        run_tokens=steps.run_tokens(tokens),
        warning=steps.warning(),
    )


def histogram(lengths: npt.NDArray[np.int32]) -> list[Bin]:
    """At most 20 bins of one width, which is 1, 2 or 5 times a power of ten.

    The first has the shortest row, for where rows are alike most bins from 0 on would be empty.
    """
    shortest, longest = int(lengths.min()), int(lengths.max())
    width = next(
        width
        for power in range(10)
        for width in (10**power, 2 * 10**power, 5 * 10**power)
        if longest // width - shortest // width < _MOST_BARS
    )
    start = shortest // width
    counts = np.bincount(lengths // width - start)
    return [
        Bin(first=index * width, last=(index + 1) * width - 1, rows=count)
        for index, count in enumerate(counts.tolist(), start)
    ]


def _parts(row: TokenRow) -> tuple[int, list[Part]]:
    """Tokens and text of a row as the model reads it."""
    edges = [0, *(place for span in row.spans for place in span), len(row.text)]
    return row.tokens, [
        Part(text=_shortened(mask(row.text[start:end])), learned=index % 2 == 1)
        for index, (start, end) in enumerate(pairwise(edges))
        if start < end
    ]


def _as_they_are(conversations: Conversations) -> Iterator[tuple[None, list[Part]]]:
    """The messages of each row, where no tokenizer says how the model reads them."""
    starts = conversations.starts().tolist()
    for first, last in pairwise(starts):
        yield (
            None,
            [
                part
                for index in range(first, last)
                for part in (
                    Part(text=f"{ROLES[conversations.roles[index]]}: ", learned=False),
                    Part(
                        text=_shortened(mask(conversations.contents[index].as_py())),
                        learned=bool(conversations.learned[index]),
                    ),
                    Part(text="\n", learned=False),
                )
            ],
        )


def _shortened(text: str) -> str:
    """The text without its middle, if it is long."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"
