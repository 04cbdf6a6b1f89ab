"""The run's report in work-dir/report.

metrics.jsonl has a line per step and evaluation, samples.jsonl the answers to fixed questions. The
curves, TensorBoard's event files and the metrics of trackers are derived from these two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from argotune.steps.common.fs import atomic_write
from argotune.steps.tune.curves import loss_png, points, report_html
from argotune.steps.tune.samples import Answer
from argotune.steps.tune.trackers import Tracker

Record = dict[str, Any]

_DRAW_SECONDS = 30.0
"""Interval of drawing the curves during the run; drawing takes about a second."""


class Report:
    """Writes the report; a resumed run appends to the same files."""

    def __init__(
        self,
        directory: Path,
        title: str = "",
        facts: Mapping[str, str] | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._metrics = directory / "metrics.jsonl"
        self._samples = directory / "samples.jsonl"
        self._plot = directory / "loss.png"
        self._page = directory / "report.html"
        self._title = title
        self._facts = facts or {}
        self._trackers = trackers
        self._lines: TextIO | None = None
        self._drawn_at = time.monotonic()

    def rewind(self, step: int) -> None:
        """Delete the records that an earlier attempt wrote after its last checkpoint, at `step`."""
        self._close_lines()
        for path in (self._metrics, self._samples):
            kept = [record for record in _records(path) if record["step"] <= step]
            atomic_write(path, "".join(json.dumps(record) + "\n" for record in kept))
        records = list(_records(self._metrics))
        for tracker in self._trackers:
            tracker.rewind(records)

    def add(self, record: Record) -> None:
        """Append one record; every record has `step`."""
        record = {**record, "time": round(time.time(), 3)}
        # Kept open, because opening it in each step takes as long as a small model's optimizer.
        if self._lines is None:
            self._lines = self._metrics.open("a", buffering=1)
        self._lines.write(json.dumps(record) + "\n")
        for tracker in self._trackers:
            tracker.add(record)

    def add_answers(self, step: int, answers: Sequence[Answer]) -> None:
        """Append the answers of one evaluation."""
        records = [
            {"step": step, "question": number, **asdict(answer)}
            for number, answer in enumerate(answers)
        ]
        with self._samples.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        if time.monotonic() - self._drawn_at >= _DRAW_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Draw loss.png and report.html from the records so far."""
        records, samples = list(_records(self._metrics)), list(_records(self._samples))
        atomic_write(self._plot, loss_png(records, self._title))
        atomic_write(self._page, report_html(records, samples, self._title, self._facts))
        self._drawn_at = time.monotonic()

    def points(self, key: str) -> list[tuple[int, float]]:
        """The steps and values of the records that have one, by `loss` or `eval_loss`."""
        return points(list(_records(self._metrics)), key)

    def close(self, succeeded: bool) -> None:
        """Draw the curves a last time, and close the trackers with the run's result."""
        self._close_lines()
        self.draw()
        for tracker in self._trackers:
            tracker.close(succeeded)

    def _close_lines(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None


class NoReport(Report):
    """The report of processes other than the leader, which write nothing."""

    def __init__(self) -> None:
        pass

    def rewind(self, step: int) -> None:
        """Do nothing."""

    def add(self, record: Record) -> None:
        """Do nothing."""

    def add_answers(self, step: int, answers: Sequence[Answer]) -> None:
        """Do nothing."""

    def draw(self) -> None:
        """Do nothing."""

    def close(self, succeeded: bool) -> None:
        """Do nothing."""


def _records(path: Path) -> Iterator[Record]:
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # the process was killed during the write of the last line
