"""What was found in a run's data, as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.steps.contracts.data_report import Bin, DataReport, Sample, Steps, Tokens
from argotune.workflows.cli.show.plan_rows import Row
from argotune.workflows.cli.show.plan_tables import print_rows

_BAR = 40
_BAR_WITH_LEAST_COLUMNS = 80
_LEARNED = "green"
_MARKS = ("[[", "]]")
"""Around what is learned, where there are no colours."""


def print_data(screen: Console, report: DataReport) -> None:
    """Print counts, lengths, findings, and the rows whose texts the report has."""
    print_rows(screen, f"Data of {report.name}", list(count_rows(report)))
    if report.tokens is not None:
        _print_lengths(screen, report.tokens.lengths)
    table = findings_table(report)
    if table is not None:
        screen.print(table)
        screen.print()
    if report.samples:
        _print_samples(screen, report)


def findings_table(report: DataReport) -> Table | None:
    """Build the table of refused, repeated and sensitive rows by number; None without any."""
    findings = list(_findings(report))
    if not findings:
        return None
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("  FOUND", overflow="fold")
    table.add_column("ROWS", justify="right", no_wrap=True)
    table.add_column("WHICH", overflow="fold")
    for what, rows, which in findings:
        table.add_row(f"  {what}", f"{rows:,}", which)
    return table


def count_rows(report: DataReport) -> Iterator[Row]:
    """List rows, tokens, steps and lengths."""
    yield Row(
        name="rows",
        value=f"{report.rows:,}",
        note=f"{report.train_rows:,} to train, {report.held_out_rows:,} held out,"
        f" {report.duplicates.exact.rows:,} repeated, {report.refused_rows:,} refused",
    )
    if report.validation_files:
        names = [url.rpartition("/")[2] for url in report.files[: report.validation_files]]
        yield Row(name="held out", value=", ".join(names), note="all rows of these files")
    if report.tokens is not None:
        yield from _token_rows(report, report.tokens)
    if compared := report.compared_text():
        yield Row(name="duplicates", value="not all", note=f"{compared} are looked for")
    if report.unused_columns:
        yield Row(name="not read", value=", ".join(report.unused_columns), note="columns")


def _token_rows(report: DataReport, tokens: Tokens) -> Iterator[Row]:
    yield Row(
        name="tokens",
        value=f"{tokens.train:,}",
        note=f"an epoch, {tokens.learned:,} of them learned; {tokens.held_out:,} held out;"
        f" counted for {report.model}",
    )
    if tokens.steps is not None:
        yield from _step_rows(tokens.steps)
    yield Row(
        name="lengths",
        value=f"{tokens.median:,} tokens",
        note=f"the median row, the longest {tokens.longest:,}. {report.cut_text(tokens)}",
    )


def _step_rows(steps: Steps) -> Iterator[Row]:
    yield Row(
        name="steps",
        value=f"{steps.total:,}",
        note=f"{steps.per_epoch:,} an epoch, {steps.tokens_per_step:,} tokens each,"
        f" {steps.run_tokens:,} in the run",
    )
    if steps.warning:
        yield Row(name="warning", value="few steps", note=steps.warning)


def _print_lengths(screen: Console, bins: Sequence[Bin]) -> None:
    most = max(each.rows for each in bins)
    bar = _BAR if screen.width >= _BAR_WITH_LEAST_COLUMNS else _BAR // 2
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("  TOKENS", justify="right", no_wrap=True)
    table.add_column("ROWS", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in bins:
        # A bin of few rows is not an empty one.
        length = -(-bar * each.rows // most)
        table.add_row(f"{each.first:,}-{each.last:,}", f"{each.rows:,}", "#" * length)
    screen.print(table)
    screen.print()


def _findings(report: DataReport) -> Iterator[tuple[str, int, str]]:
    for each in report.refused:
        yield f"refused: {each.what}", each.rows, report.places_text(each)
    found = report.duplicates
    if found.exact.rows:
        yield "repeated, dropped", found.exact.rows, report.places_text(found.exact)
    if found.asked.rows:
        which = report.places_text(found.asked)
        yield "asked in validation, not trained on", found.asked.rows, which
    for what, pairs in (
        ("nearly repeated", found.near),
        ("held out, nearly trained on", found.on_both_sides),
    ):
        if pairs.rows:
            yield what, pairs.rows, report.pairs_text(pairs)
    for each in report.sensitive:
        yield each.what, each.rows, report.places_text(each)


def _print_samples(screen: Console, report: DataReport) -> None:
    coloured = screen.is_terminal and not screen.no_color
    how = "green" if coloured else f"between {_MARKS[0]} and {_MARKS[1]}"
    screen.print(f"What is learned: {how}", style="bold")
    for each in report.samples:
        side = ", held out" if each.held_out else ""
        tokens = "" if each.tokens is None else f", {each.tokens:,} tokens"
        title = f"row {report.place_text(each.place)}{tokens}{side}"
        screen.print(Text(title, style="dim"))
        screen.print(_text(each, coloured=coloured))
        screen.print()


def _text(sample: Sample, *, coloured: bool) -> Text:
    text = Text()
    first, last = ("", "") if coloured else _MARKS
    for part in sample.parts:
        if part.learned:
            text.append(f"{first}{part.text}{last}", style=_LEARNED)
        else:
            text.append(part.text)
    return text
