"""Models beside each other as a person reads them, in a terminal or on a page."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.steps.common.counted import counted
from argotune.steps.common.html_page import facts, page, table
from argotune.steps.contracts.side_by_side import Measured, SideBySide


def print_side_by_side(screen: Console, found: SideBySide) -> None:
    """Print a table of losses and checks, failing examples, and answers."""
    rows, tokens = counted(found.rows, "row"), counted(found.tokens, "learned token")
    screen.print(Text(f"{found.base} on {rows} with {tokens}"), soft_wrap=True)
    screen.print(_table(found))
    if len(found.models) > 1:
        screen.print(Text(f"better: {_meaning_of_better(found)}"), soft_wrap=True)
    for text in [*_examples(found), *_answers(found)]:
        screen.print(Text(text), soft_wrap=True)


def side_by_side_page(found: SideBySide) -> str:
    """Build the same as a page of one file, with no script and no request."""
    names = [model.name for model in found.models]
    of_adapters = [[model.name, model.adapter] for model in found.models if model.adapter]
    examples = [
        [model.name, check.name, each.prompt, each.reference, each.answer, each.reason]
        for model in found.models
        for check in model.checks
        for each in check.examples
    ]
    answers = [
        [question.prompt, question.reference, *(model.answers[place] for model in found.models)]
        for place, question in enumerate(found.questions)
    ]
    given = {"base": found.base, "rows": f"{found.rows:,}", "learned tokens": f"{found.tokens:,}"}
    if len(found.models) > 1:
        given["better by"] = _meaning_of_better(found)
    columns, rows = _cells(found)
    return page(
        f"Evaluation of {', '.join(names)}",
        [
            facts(given),
            table("Losses, nats per token, and checks", columns, rows),
            table("Adapters", ["model", "image"], of_adapters),
            table("Answers", ["prompt", "reference", *names], answers),
            table(
                "Rows with low scores",
                ["model", "check", "prompt", "reference", "answer", "why"],
                examples,
            ),
        ],
    )


def _meaning_of_better(found: SideBySide) -> str:
    share = f"{found.confidence:.0%}"
    return f"loss below that of {found.models[0].name}, nats per token, with its {share} interval"


def _table(found: SideBySide) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns, rows = _cells(found)
    for name in columns:
        # A name that is cut cannot be copied.
        shown.add_column(Text(name), overflow="fold")
    for cells in rows:
        shown.add_row(*map(Text, cells))
    return shown


def _cells(found: SideBySide) -> tuple[list[str], list[list[str]]]:
    """The table's header, and the cells of each model."""
    names = [check.name for check in found.models[0].checks]
    columns = ["MODEL", "LOSS", *(["BETTER BY"] if len(found.models) > 1 else []), *names]
    rows = []
    for model in found.models:
        cells = [model.name, "not finite" if model.loss is None else f"{model.loss:.4f}"]
        if len(found.models) > 1:
            cells.append(_difference(model))
        cells += [
            "no rows"
            if check.score is None
            else f"{check.score:.2f} {'passed' if check.passed else f'below {check.min:g}'}"
            for check in model.checks
        ]
        rows.append(cells)
    return columns, rows


def _difference(model: Measured) -> str:
    difference = model.difference
    if difference is None:
        return ""
    if difference.low is None or difference.high is None:
        return f"{difference.gain:+.4f} (too few rows for an interval)"
    return f"{difference.gain:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def _examples(found: SideBySide) -> list[str]:
    lines = []
    for model in found.models:
        for check in model.checks:
            if check.passed or not check.examples:
                continue
            worst = check.examples[0]
            lines += [
                "",
                f"{model.name} does not pass {check.name}: {worst.reason}",
                f"  prompt:    {worst.prompt}",
                f"  reference: {worst.reference}",
                f"  answer:    {worst.answer}",
            ]
    return lines


def _answers(found: SideBySide) -> list[str]:
    width = max(map(len, ["reference", *(model.name for model in found.models)])) + 1
    lines = []
    for place, question in enumerate(found.questions):
        lines += ["", question.prompt, f"  {'reference:':<{width}} {question.reference}"]
        lines += [f"  {f'{model.name}:':<{width}} {model.answers[place]}" for model in found.models]
    return lines
