"""Two adapters side by side: settings, data, losses, checks and answers.

What is compared is what their images and the reports beside them say; a report that is missing
leaves its part out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.steps.common.counted import counted
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.html_page import page, table
from argotune.steps.contracts.checks import CheckResult
from argotune.steps.contracts.evaluation import Comparison, Evaluation
from argotune.steps.contracts.report import (
    DATASET,
    EVALUATION,
    PLAN,
    RESULT,
    SAMPLES,
    Files,
    record_of,
    records,
)
from argotune.steps.contracts.training_plan import parse_plan
from argotune.workflows.cli.show.versions import Row

_NONE = "-"
_COUNTS = {
    "train_rows": "rows to train",
    "validation_rows": "rows held out",
    "duplicate_rows": "repeated rows",
    "rejected_rows": "unusable rows",
}
_MOST_ANSWERS = 10
_LONGEST_CELL = 400
"""Characters of a cell in the terminal; the page has all."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One adapter."""

    title: str
    """What the heading calls it."""
    row: Row
    files: Files
    """Its report; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the comparison: what, and its value on either side."""

    title: str
    rows: Sequence[tuple[str, str, str]]
    note: str = ""


def sections_of(one: Side, other: Side) -> list[Section]:
    """Compare two adapters, part by part."""
    found = [
        _section("Adapter", _adapter(one), _adapter(other)),
        _settings(one.files, other.files),
        _section("Data", _data(one.files), _data(other.files)),
        _section("Losses", _losses(one), _losses(other)),
        _section("Evaluation", _evaluation(one.files), _evaluation(other.files)),
        _answers(one.files, other.files),
    ]
    return [section for section in found if section.rows or section.note]


def print_comparison(screen: Console, one: Side, other: Side) -> None:
    """Print the parts one below the other."""
    for section in sections_of(one, other):
        shown = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
        for column in (section.title.upper(), one.title, other.title):
            shown.add_column(column, overflow="fold")
        for cells in section.rows:
            shown.add_row(*(Text(_cut(cell)) for cell in cells))
        screen.print(shown)
        if section.note:
            screen.print(Text(section.note), soft_wrap=True)
        screen.print()


def comparison_page(one: Side, other: Side) -> str:
    """Build one HTML page without scripts and requests; all texts are escaped."""
    parts = [
        table(
            f"{section.title}{f' ({section.note})' if section.note else ''}",
            ["", one.title, other.title],
            section.rows or [("", "", "")],
        )
        for section in sections_of(one, other)
    ]
    return page(f"{one.title} and {other.title}", parts)


def _section(title: str, one: Mapping[str, str], other: Mapping[str, str]) -> Section:
    names = dict.fromkeys([*one, *other])
    rows = [(name, one.get(name) or _NONE, other.get(name) or _NONE) for name in names]
    return Section(title=title, rows=[row for row in rows if row[1:] != (_NONE, _NONE)])


def _adapter(side: Side) -> dict[str, str]:
    row = side.row
    return {
        "version": row.version,
        "state": ", ".join(row.states),
        "digest": row.digest,
        "made": row.created,
        "base model": row.base_model,
        "base revision": row.base_revision,
        "data": row.dataset_digest,
        "verdict": row.verdict,
        "cost": row.cost,
        "machine": row.machine,
        "deployed": row.event.time,
        "by": row.event.person,
        "approved by": row.event.approved_by,
        "rejected by": row.rejection.person,
    }


def _settings(one: Files, other: Files) -> Section:
    """Compare the plans; only what differs is a row."""
    plans = [_plan(files) for files in (one, other)]
    if not all(plans):
        return Section(title="Settings", rows=[], note=_missing("plan", plans))
    section = _section("Settings", *plans)
    different = [row for row in section.rows if row[1] != row[2]]
    same = len(section.rows) - len(different)
    return Section(title="Settings", rows=different, note=f"the same: {counted(same, 'other')}")


def _missing(what: str, found: Sequence[Mapping[str, str]]) -> str:
    sides = " and ".join(
        side for side, known in zip(("first", "second"), found, strict=True) if not known
    )
    return f"no {what} is known of the {sides}"


def _plan(files: Files) -> dict[str, str]:
    if PLAN not in files:
        return {}
    try:
        plan = msgspec.to_builtins(parse_plan(files[PLAN].decode()))
    except (PermanentError, UnicodeDecodeError):
        return {}  # a plan of another version
    return dict(_flat(plan, ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data(files: Files) -> dict[str, str]:
    data = record_of(files, DATASET)
    tokens = data.get("tokens")
    counts = {name: f"{data[key]:,}" for key, name in _COUNTS.items() if key in data}
    if isinstance(tokens, dict):
        counts["tokens an epoch"] = f"{tokens.get('tokens', 0):,}"
        counts["of them learned"] = f"{tokens.get('learned_tokens', 0):,}"
    return counts


def _losses(side: Side) -> dict[str, str]:
    result = record_of(side.files, RESULT).get("result")
    steps = str(result.get("steps", "")) if isinstance(result, dict) else ""
    return {
        "base": side.row.base_loss,
        "in service then": side.row.live_loss,
        "tuned": side.row.tuned_loss,
        "steps": steps,
    }


def _evaluation(files: Files) -> dict[str, str]:
    found = evaluation_of(files)
    if found is None:
        return {}
    return {
        "verdict": found.verdict,
        "reason": found.reason,
        "rows": f"{found.rows:,}",
        **{f"gain over {each.against}": gain_text(each) for each in found.comparisons},
        **{f"check {each.name}": score_text(each) for each in found.checks},
        "faulty answers": str(sum(bool(each.fault) for each in found.answers)),
        "warnings": "; ".join(found.warnings),
    }


def gain_text(comparison: Comparison) -> str:
    """Describe by how much a loss is lower, with its confidence interval."""
    gain, low, high = comparison.gain, comparison.low, comparison.high
    interval = f" ({low:.4g} to {high:.4g})" if low is not None and high is not None else ""
    shown = "no finite number" if gain is None else f"{gain:.4g}{interval}"
    return f"{shown}, {'passed' if comparison.passed else 'not passed'}"


def score_text(check: CheckResult) -> str:
    """Describe the score of a check of answers."""
    score = _NONE if check.score is None else f"{check.score:.3g}"
    return f"{score} on {counted(check.rows, 'row')}, {'passed' if check.passed else 'not passed'}"


def evaluation_of(files: Files) -> Evaluation | None:
    """Read the evaluation of a report; None where there is none."""
    try:
        return msgspec.json.decode(files.get(EVALUATION, b""), type=Evaluation)
    except msgspec.DecodeError:
        return None  # none, or that of another version


def _answers(one: Files, other: Files) -> Section:
    """Put the answers to the same prompts side by side."""
    first, second = _answers_of(one), _answers_of(other)
    both = [prompt for prompt in first if prompt in second]
    rows = [(prompt, first[prompt], second[prompt]) for prompt in both[:_MOST_ANSWERS]]
    if not first and not second:
        return Section(title="Answers", rows=[])
    note = f"{len(both)} prompts were asked of both, {len(first)} and {len(second)} of each"
    return Section(title="Answers", rows=rows, note=note)


def _answers_of(files: Files) -> dict[str, str]:
    """Map the prompts to the new adapter's answers: of the evaluation, else tune's last ones."""
    evaluation = evaluation_of(files)
    if evaluation is not None and evaluation.answers:
        return {each.prompt: each.new for each in evaluation.answers}
    samples = records(files, SAMPLES)
    last = max((each["step"] for each in samples), default=None)
    return {str(each["prompt"]): str(each["answer"]) for each in samples if each["step"] == last}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}..."
