"""The run's record: metrics.jsonl, one line per step and evaluation, and the loss curve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from steps.common.fs import atomic_write, replacing

Record = dict[str, Any]


class Report:
    """Writes work-dir/report; a resumed run goes on in the same file."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._metrics = directory / "metrics.jsonl"
        self._plot = directory / "loss.png"

    def rewind(self, step: int) -> None:
        """Drop what an earlier try wrote after its last checkpoint, at `step`."""
        kept = [record for record in self._records() if record["step"] <= step]
        atomic_write(self._metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def add(self, record: Record) -> None:
        """Append one record; every record has `step`."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def plot(self, title: str) -> None:
        """Draw the losses over the steps into loss.png."""
        records = list(self._records())
        figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        train = [(record["step"], record["loss"]) for record in records if "loss" in record]
        held_out = [
            (record["step"], record["eval_loss"]) for record in records if "eval_loss" in record
        ]
        if train:
            axes.plot(
                *zip(*train, strict=True), color="0.75", linewidth=1, label="train, each step"
            )
            axes.plot(*zip(*_smooth(train), strict=True), color="tab:blue", label="train, smoothed")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "o-", color="tab:orange", label="held out")
            first, last = held_out[0], held_out[-1]
            axes.annotate(f"base {first[1]:.3f}", first, (7, 7), **_NOTE)
            axes.annotate(f"{last[1]:.3f}", last, (0, 8), ha="right", **_NOTE)
        axes.set(title=title, xlabel="optimizer step", ylabel="loss per token, nats")
        axes.set_ylim(bottom=0, top=1.1 * axes.get_ylim()[1])
        axes.grid(alpha=0.25)
        if train or held_out:
            axes.legend(frameon=False)
        with replacing(self._plot) as temporary:
            figure.savefig(temporary, format="png")

    def _records(self) -> Iterator[Record]:
        if not self._metrics.exists():
            return
        for line in self._metrics.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # the process was killed while it wrote the last line


_NOTE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}


def _smooth(points: list[tuple[int, float]], weight: float = 0.9) -> list[tuple[int, float]]:
    """Exponential mean, without the pull to 0 at the start."""
    mean, share = 0.0, 0.0
    smoothed = []
    for step, value in points:
        mean = weight * mean + (1 - weight) * value
        share = weight * share + (1 - weight)
        smoothed.append((step, mean / share))
    return smoothed
