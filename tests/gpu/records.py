"""What the stages measure: one JSON line each, a table of all, and what of them is wrong."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.tune.device import find_device

RESULTS = "results.jsonl"
_FEW_REPEATS, _WARM_UP = 10, 2

Record = dict[str, Any]


class Records:
    """The records of one stage; a `limit` beside a `apart` is the largest value that is right."""

    def __init__(self, out: Path, stage: str, *, dry: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._file = out / RESULTS
        self._stage = stage
        self.dry = dry
        """Whether this is a trial on the CPU, with the smallest sizes."""

    def add(self, what: str, **values: Any) -> None:
        """Print a record and append it to the file."""
        line = json.dumps({"stage": self._stage, "what": what, **values}, default=str)
        print(line, flush=True)
        with self._file.open("a") as file:
            file.write(line + "\n")

    def check_apart(
        self, what: str, found: torch.Tensor, expected: torch.Tensor, limit: float, **more: Any
    ) -> None:
        """Add the norm of the difference as a share of the expected norm."""
        self.add(what, apart=float(f"{apart(found, expected):.3g}"), limit=limit, **more)

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Median time of a call on the device."""
        repeats, warm = (1, 0) if self.dry else (_FEW_REPEATS, _WARM_UP)
        for _ in range(warm):
            work()
        return round(statistics.median(_timed(work) for _ in range(repeats)), 3)


def read(out: Path) -> list[Record]:
    """All records of a directory."""
    return [json.loads(line) for line in (out / RESULTS).read_text().splitlines()]


def wrong(records: Iterable[Record]) -> list[str]:
    """A line for each record that is an error, or further apart than its limit."""
    lines = []
    for record in records:
        name = f"{record['stage']}: {record['what']}"
        if "error" in record:
            lines.append(f"{name}: {record['error']}")
        elif "limit" in record and not record["apart"] <= record["limit"]:
            lines.append(f"{name}: {record['apart']:g} apart, at most {record['limit']:g} is right")
    return lines


def table(records: Iterable[Record]) -> str:
    """The records in Markdown, for tests/gpu/README.md."""
    rows = ["| stage | what | result |", "|---|---|---|"]
    for record in records:
        values = {key: value for key, value in record.items() if key not in ("stage", "what")}
        text = ", ".join(f"{key} {value}" for key, value in values.items())
        rows.append(f"| {record['stage']} | {record['what']} | {text} |")
    return "\n".join(rows)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference as a share of the expected norm."""
    one, two = (each.detach().double().flatten() for each in (found, expected))
    return float((one - two).norm() / two.norm())


def half_precision(device: Device) -> Device:
    """The device with the types that it has on a GPU, so that a CPU's trial takes the same way."""
    return Device(device.torch_device, torch.bfloat16, torch.bfloat16)


def this_device() -> Device:
    """The first GPU, else the CPU as if it were one."""
    return half_precision(find_device())


def _timed(work: Callable[[], object]) -> float:
    if not torch.cuda.is_available():
        began = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - began)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))
