"""What the plan foretold of a run beside what was measured: memory, speed, steps, time and cost.

It is computed from the files of the run's report, so that `push` writes it on the run's page, and
the command line shows it for a report of the registry too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.report import (
    DATASET,
    METRICS,
    PLAN,
    RESULT,
    Files,
    record_of,
    records,
)
from argotune.steps.contracts.training_plan import Speed, TrainingPlan, parse_plan

UNKNOWN = "-"
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, kw_only=True)
class NodeUse:
    """What the node of a run was used and paid for."""

    hours: float
    cost_usd: float | None
    """None: its price is not known."""
    is_upper_bound: bool
    """Whether the price is that of a regular machine, which a spot machine costs at most."""

    def __str__(self) -> str:
        if self.cost_usd is None:
            return f"{self.hours:.2f} h, at a price that is not known"
        return f"{'at most' if self.is_upper_bound else 'about'} {self.cost_usd:.2f} USD"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was planned and measured; what is not known is `-`."""

    what: str
    planned: str
    measured: str


def compare_with_plan(files: Files, node: NodeUse | None = None) -> list[Row]:
    """Put the plan beside the run, as far as the files of its report tell.

    Args:
        files: Those of the report; without a plan or the result of tune there are no rows.
        node: The use of the node that was made for the run; None: there was none, or it is not
            known.
    """
    plan, result = plan_of(files), record_of(files, RESULT).get("result")
    if plan is None or not isinstance(result, dict):
        return []
    return [row for row in _rows(plan, result, files, node) if row.measured != UNKNOWN]


def duration(seconds: float) -> str:
    """Write a duration for a person: 62 s, 34 min or 3.4 h."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def _rows(
    plan: TrainingPlan, result: dict[str, Any], files: Files, node: NodeUse | None
) -> Iterator[Row]:
    hardware, speed = plan.hardware, plan.hardware.expected_tokens_per_second
    counted = record_of(files, DATASET).get("tokens") or {}
    run_tokens = counted.get("run_tokens")
    early = result.get("stopped_early")
    is_on_gpu = hardware.gpus > 0
    yield Row(
        what="peak memory of one GPU" if is_on_gpu else "peak memory of the process, on a CPU",
        planned=f"{plan.memory.total_gb:.2f} GB" if is_on_gpu else UNKNOWN,
        measured=_number(result.get("peak_memory_gb"), ",.2f", "GB"),
    )
    yield Row(
        what="training speed",
        planned=UNKNOWN if speed is None else f"{speed.low:,.0f} to {speed.high:,.0f} tokens/s",
        measured=_number(result.get("tokens_per_second"), ",.0f", "tokens/s"),
    )
    yield Row(
        what="optimizer steps",
        planned=_number(counted.get("steps")),
        measured=_number(result.get("steps")) + (f", ended early: {early}" if early else ""),
    )
    seconds = _seconds(run_tokens, speed)
    yield Row(
        what="time of tuning",
        planned=" to ".join(map(duration, seconds)) or UNKNOWN,
        measured=_time_of_tuning(files),
    )
    price = hardware.price_usd_per_hour
    costs = [] if price is None else [f"{each / _HOUR * price:.2f}" for each in seconds]
    yield Row(
        what="cost of the node",
        planned=f"{' to '.join(costs)} USD for training alone" if costs else UNKNOWN,
        measured=UNKNOWN if node is None else str(node),
    )


def _seconds(run_tokens: int | None, speed: Speed | None) -> list[float]:
    """The shortest and the longest time that is expected; empty where it is not known."""
    if run_tokens is None or speed is None:
        return []
    return [run_tokens / speed.high, run_tokens / speed.low]


def _number(number: float | None, form: str = ",", unit: str = "") -> str:
    """A number with its unit; `-` where a report of another version has none."""
    return UNKNOWN if number is None else f"{number:{form}} {unit}".rstrip()


def _time_of_tuning(files: Files) -> str:
    """The time from the first record of tune to its last, interruptions included."""
    times = [each["time"] for each in records(files, METRICS) if "time" in each]
    return duration(times[-1] - times[0]) if len(times) > 1 else UNKNOWN


def plan_of(files: Files) -> TrainingPlan | None:
    """Return the plan in a report; None where it has none that this version reads."""
    try:
        return parse_plan(files[PLAN].decode()) if PLAN in files else None
    except (PermanentError, UnicodeDecodeError):
        return None  # a plan of another version
