"""What the evaluation found, on the page with the curves that `tune` wrote; texts are escaped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from argotune.steps.common.fs import atomic_write
from argotune.steps.common.html_page import facts, table, with_section
from argotune.steps.contracts.evaluation import Comparison, Evaluation

_PAGE = Path("report", "report.html")
"""Below the run's volume."""
_NONE = "-"


def add_to_report(work_dir: Path, evaluation: Evaluation) -> None:
    """Add the evaluation to the run's page, in place of an earlier try's, if there is one."""
    path = work_dir / _PAGE
    if not path.is_file():
        return
    text = with_section(path.read_text(), "evaluation", list(_parts(evaluation)))
    atomic_write(path, text)


def _parts(evaluation: Evaluation) -> Iterator[str]:
    yield "<h2>Evaluation</h2>"
    yield facts(
        {
            "verdict": evaluation.verdict,
            "reason": evaluation.reason,
            "held-out rows": f"{evaluation.rows:,}",
            "in service then": evaluation.live or _NONE,
        }
        | ({"warnings": "; ".join(evaluation.warnings)} if evaluation.warnings else {})
    )
    yield table(
        f"Losses in nats per token, intervals of {evaluation.confidence:.0%}",
        ["new adapter against", "its loss", "new loss", "gain", "interval", "wanted above", ""],
        [_compared(each, evaluation) for each in evaluation.comparisons],
    )
    yield table(
        "Checks of answers",
        ["check", "kind", "score", "wanted", "rows", ""],
        [
            (
                each.name,
                each.kind,
                _number(each.score),
                each.wanted,
                f"{each.rows:,}",
                _passed(each.passed),
            )
            for each in evaluation.checks
        ],
    )
    yield table(
        "Answers to held-out prompts",
        ["prompt", "reference", "base", "in service", "new", "fault"],
        [
            (each.prompt, each.reference, each.base, each.live or _NONE, each.new, each.fault)
            for each in evaluation.answers
        ],
    )


def _compared(comparison: Comparison, evaluation: Evaluation) -> tuple[str, ...]:
    low, high = comparison.low, comparison.high
    return (
        "base" if comparison.against == "base" else "adapter in service",
        _number(comparison.loss),
        _number(evaluation.new_loss),
        _number(comparison.gain),
        _NONE if low is None or high is None else f"{low:.4g} to {high:.4g}",
        f"{comparison.margin:g}",
        _passed(comparison.passed),
    )


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}"


def _passed(passed: bool) -> str:
    return "passed" if passed else "not passed"
