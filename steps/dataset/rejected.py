"""Count unusable rows and report their numbers and reasons, without their content."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np
import numpy.typing as npt

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import replacing
from argotune.steps.contracts.data_report import MOST_PLACES, Finding, Place
from argotune.steps.dataset.chat_exports import advice_of
from argotune.steps.dataset.conversations import NOT_PARSED, REASONS

_NO_DETAILS: Mapping[int, str] = {}
_EXAMPLES_IN_ERROR = 3

_logger = logging.getLogger(__name__)


class Rejected:
    """Counts of the unusable rows so far."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._counts: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[str, str], list[int]] = {}
        self._details: dict[tuple[str, str], str] = {}
        """What is known of the first row with a reason beyond that reason."""

    def add(
        self,
        url: str,
        numbers: npt.NDArray[np.int64],
        reasons: npt.NDArray[np.uint8],
        problem: str = "",
        details: Mapping[int, str] = _NO_DETAILS,
    ) -> None:
        """Add the rows of a file whose reason is not 0; both arrays have shape (n,).

        `problem` says why the first one that is not parsed is none, and `details` more about the
        reason of some rows, by their index.
        """
        if problem:
            self._details.setdefault((REASONS[NOT_PARSED], url), problem)
        for index in np.flatnonzero(reasons).tolist():
            key, number = (REASONS[reasons[index]], url), int(numbers[index])
            self._counts[key] += 1
            first = self._first.setdefault(key, [])
            if len(first) < MOST_PLACES:
                first.append(number)
            line = {"file": url, "row": number, "reason": key[0]}
            if index in details:
                line["detail"] = details[index]
                self._details.setdefault(key, details[index])
            self._file.write(json.dumps(line) + "\n")

    def by_reason(self) -> dict[str, int]:
        """Number of rows by reason."""
        counts: Counter[str] = Counter()
        for (reason, _), count in self._counts.items():
            counts[reason] += count
        return dict(counts)

    def findings(self, urls: Sequence[str]) -> list[Finding]:
        """The rows of each reason, with the first ones; `urls` are the files in order."""
        found: dict[str, Finding] = {}
        for (reason, url), count in self._counts.items():
            file, what = urls.index(url), reason.replace("_", " ")
            known = found.get(reason, Finding(what=what, rows=0, first=[]))
            first = [Place(file=file, row=row) for row in self._first[reason, url]]
            found[reason] = msgspec.structs.replace(
                known, rows=known.rows + count, first=[*known.first, *first][:MOST_PLACES]
            )
        return list(found.values())

    def report(self) -> None:
        """Log each reason of each file with its count and first rows."""
        for (reason, url), count in self._counts.items():
            rows = ",".join(map(str, self._first[reason, url]))
            log.warn(
                _logger, "rows-rejected", reason=reason, file=url, count=count, first_rows=rows
            )

    def check_share(self, rows: int, max_share: float) -> None:
        """Raise PermanentError if more than this share of all rows is unusable."""
        total = self._counts.total()
        if total <= max_share * rows:
            return
        raise PermanentError(
            f"{total} of {rows} rows are unusable ({total / rows:.1%}), at most "
            f"{max_share:.1%} are accepted (max_rejected_share): {self.summary()}; "
            "dataset/rejected.jsonl lists all of them"
        )

    def summary(self) -> str:
        """A text with each reason of each file, its count and a few row numbers."""
        return ", ".join(
            f"{count} {reason} ({url.rpartition('/')[2]} row "
            f"{', '.join(map(str, self._first[reason, url][:_EXAMPLES_IN_ERROR]))}"
            f"{self._detail(reason, url)})"
            for (reason, url), count in self._counts.items()
        )

    def _detail(self, reason: str, url: str) -> str:
        detail, advice = self._details.get((reason, url)), advice_of(reason)
        return f"; the first: {detail}" if detail else f"; {advice}" if advice else ""


@contextmanager
def rejected_rows(path: Path) -> Iterator[Rejected]:
    """Yield a collector that writes unusable rows to a file, one JSON object per line."""
    with replacing(path) as temporary, temporary.open("w") as file:
        yield Rejected(file)
