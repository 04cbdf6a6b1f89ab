"""A run's report as a person reads it in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fields import text_of
from argotune.steps.contracts import data_report, side_by_side
from argotune.steps.contracts.measured import NodeUse, compare_with_plan, plan_of
from argotune.steps.contracts.report import DATASET, METRICS, RESULT, SAMPLES, Files, records
from argotune.workflows.cli.show.comparison import evaluation_of, gain_text, score_text
from argotune.workflows.cli.show.data import findings_table
from argotune.workflows.cli.show.plan_rows import plan_rows
from argotune.workflows.cli.show.side_by_side import print_side_by_side

_SHOWN_ANSWERS = 3
_SETTINGS = ("model", "method", "adapter", "batch", "rate")
"""Rows of the plan that tell one run of a workspace from another."""


def print_report(
    screen: Console, files: Files, *, run: str = "", node: NodeUse | None = None, answer: str = ""
) -> None:
    """Print what came of the run: settings, data, losses, the plan beside it, the last answers.

    Args:
        screen: Where to print.
        files: Those of the report.
        run: Its name and when it began; empty: not known.
        node: The use of the node that was made for the run, where that is known.
        answer: Who approved or rejected the adapter, and why; empty: nobody, or it is not known.
    """
    facts = Table.grid(padding=(0, 2))
    known = [("run", run), *_settings(files), *_facts(files), ("approval", answer)]
    for name, text in filter(all, known):
        facts.add_row(Text(name), Text(text))
    screen.print(facts, soft_wrap=True)
    if side_by_side.FILE in files:
        screen.print()
        print_side_by_side(screen, side_by_side.parse_side_by_side(files[side_by_side.FILE]))
    # Not with soft wrap, which makes a table as wide as its longest list of rows.
    screen.print(*_findings(files), *_measured(files, node), sep="\n", end="")
    screen.print(Group(*_answers(files)), soft_wrap=True)


def _settings(files: Files) -> Iterator[tuple[str, str]]:
    """Yield what an adapter was tuned with; nothing where none was."""
    plan = plan_of(files) if RESULT in files else None
    for row in plan_rows(plan) if plan is not None else ():
        if row.name in _SETTINGS:
            yield row.name, ", ".join(filter(None, (row.value, row.note)))


def _facts(files: Files) -> Iterator[tuple[str, str]]:
    if DATASET in files:
        data = json.loads(files[DATASET])
        used = f"{data['train_rows']} for training, {data['validation_rows']} held out"
        if side_by_side.FILE in files:
            used = f"{data['train_rows']} measured on"
        yield (
            "rows",
            f"{used}, {data['duplicate_rows']} repeated, {data['rejected_rows']} unusable",
        )
        # Not in a report of an earlier version, nor where the tokenizer came only with the model.
        if tokens := data.get("tokens"):
            yield (
                "tokens",
                f"{tokens['tokens']} an epoch, {tokens['learned_tokens']} of them learned; the"
                f" longest row has {tokens['longest_row_tokens']}; rows cut: {tokens['cut_rows']}",
            )
    if RESULT in files:
        result = json.loads(files[RESULT])["result"]
        yield "base loss", text_of(result["base_loss"])
        yield "tuned loss", f"{text_of(result['tuned_loss'])}, after {result['steps']} steps"
    evaluations = [each for each in records(files, METRICS) if "eval_loss" in each]
    if evaluations:
        best = min(evaluations, key=lambda each: float(each["eval_loss"]))
        yield (
            "held out",
            f"{len(evaluations)} evaluations, the best {best['eval_loss']:.6g} at step"
            f" {best['step']}",
        )
    yield from _verdict(files)
    sizes = (f"{name} ({_size(len(content))})" for name, content in files.items())
    yield "files", ", ".join(sizes)


def _verdict(files: Files) -> Iterator[tuple[str, str]]:
    """Yield what the evaluation found; nothing where there was none."""
    found = evaluation_of(files)
    if found is None:
        return
    yield "verdict", f"{found.verdict}: {found.reason}"
    for compared in found.comparisons:
        yield f"gain over {compared.against}", gain_text(compared)
    for check in found.checks:
        yield f"check {check.name}", score_text(check)


def _findings(files: Files) -> Iterator[RenderableType]:
    """Yield what the dataset step found in the rows, each with the numbers of the first ones."""
    if data_report.NAME not in files:
        return
    try:
        found = findings_table(data_report.parse_report(files[data_report.NAME]))
    except PermanentError as error:
        yield Text(str(error))
        return
    if found is not None:
        yield Text("")
        yield found


def _measured(files: Files, node: NodeUse | None) -> Iterator[RenderableType]:
    """Yield the plan beside the run; nothing where the report has no plan, or no tuning."""
    rows = compare_with_plan(files, node)
    if not rows:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "PLANNED", "MEASURED"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(Text(row.what), Text(row.planned), Text(row.measured))
    yield Text("")
    yield table


def _answers(files: Files) -> Iterator[RenderableType]:
    samples = records(files, SAMPLES)
    last = max((each["step"] for each in samples), default=None)
    for each in [each for each in samples if each["step"] == last][:_SHOWN_ANSWERS]:
        yield Text("")
        yield Text(str(each["prompt"]))
        if each["expected"] is not None:
            yield Text(f"  expected: {each['expected']}")
        yield Text(f"  answer:   {each['answer']}")


def _size(count: int) -> str:
    return f"{count / 1000:.0f} kB" if count >= 1000 else f"{count} B"
