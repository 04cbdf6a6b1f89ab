"""The page data.html: what was found in the data, to look at before a GPU is paid for."""

from __future__ import annotations

from html import escape

from argotune.steps.common.html_page import facts, page, table
from argotune.steps.contracts.data_report import DataReport, Finding, Sample

_BAR = "min(24em, 45vw)"
"""Width of the longest bar, also on a telephone."""


def data_html(report: DataReport) -> str:
    """The report as one HTML page, readable without scripts and network."""
    return page(
        f"{report.name}: data",
        [
            _counts(report),
            _warning(report),
            _lengths(report),
            _samples(report),
            table("Refused rows", ["why", "rows", "which"], _rows(report, report.refused)),
            _duplicates(report),
            table(
                "Personal data and secrets",
                ["what", "values", "rows", "which"],
                [
                    [each.what, f"{each.values:,}", f"{each.rows:,}", report.places_text(each)]
                    for each in report.sensitive
                ],
            ),
            table("Columns that are not read", ["column"], [[c] for c in report.unused_columns]),
            table(
                "Files",
                ["", "URL", ""],
                [
                    [str(n), url, "held out" if n <= report.validation_files else ""]
                    for n, url in enumerate(report.files, 1)
                ],
            ),
        ],
    )


def _counts(report: DataReport) -> str:
    values = {
        "rows": f"{report.rows:,}",
        "to train": f"{report.train_rows:,}",
        "held out": f"{report.held_out_rows:,}",
        "repeated": f"{report.duplicates.exact.rows:,}",
        "refused": f"{report.refused_rows:,}",
        "model": report.model,
    }
    if report.tokens is not None:
        values |= {
            "tokens an epoch": f"{report.tokens.train:,}",
            "of them learned": f"{report.tokens.learned:,}",
        }
        if report.tokens.steps is not None:
            values |= {
                "tokens of the run": f"{report.tokens.steps.run_tokens:,}",
                "optimizer steps": f"{report.tokens.steps.total:,}",
            }
    return facts(values)


def _warning(report: DataReport) -> str:
    steps = report.tokens.steps if report.tokens is not None else None
    if steps is None or not steps.warning:
        return ""
    return f"<p><strong>Warning:</strong> {escape(steps.warning)}.</p>"


def _lengths(report: DataReport) -> str:
    tokens = report.tokens
    if tokens is None:
        return ""
    most = max(each.rows for each in tokens.lengths)
    rows = "".join(
        f"<tr><td>{each.first:,}-{each.last:,}</td><td>{each.rows:,}</td><td>"
        f'<span class="bar" style="width:calc({_BAR} * {each.rows / most:.3f})"></span></td></tr>\n'
        for each in tokens.lengths
    )
    return (
        "<h2>Tokens of a row</h2>\n"
        f"<p>Median {tokens.median:,}, longest {tokens.longest:,}."
        f" {escape(report.cut_text(tokens))}</p>\n"
        f"<table><tr><th>tokens</th><th>rows</th><th></th></tr>\n{rows}</table>"
    )


def _samples(report: DataReport) -> str:
    if not report.samples:
        return ""
    rows = "".join(_sample(report, each) for each in report.samples)
    return (
        "<h2>What is learned</h2>\n"
        "<p>The rows as the model reads them; <mark>marked</mark> is what it learns to write.</p>\n"
        f"<table><tr><th>row</th><th>tokens</th><th>text</th></tr>\n{rows}</table>"
    )


def _sample(report: DataReport, sample: Sample) -> str:
    text = "".join(
        f"<mark>{escape(part.text)}</mark>" if part.learned else escape(part.text)
        for part in sample.parts
    )
    tokens = "" if sample.tokens is None else f"{sample.tokens:,}"
    side = ' <span class="dim">held out</span>' if sample.held_out else ""
    return (
        f"<tr><td>{escape(report.place_text(sample.place))}{side}</td><td>{tokens}</td>"
        f'<td class="text">{text}</td></tr>\n'
    )


def _rows(report: DataReport, findings: list[Finding]) -> list[list[str]]:
    return [[each.what, f"{each.rows:,}", report.places_text(each)] for each in findings]


def _duplicates(report: DataReport) -> str:
    found = report.duplicates
    rows = [
        (
            "repeat an earlier row, and are dropped",
            found.exact.rows,
            report.places_text(found.exact),
        ),
        (
            "ask what a validation file asks, and are not trained on",
            found.asked.rows,
            report.places_text(found.asked),
        ),
        ("nearly repeat an earlier row", found.near.rows, report.pairs_text(found.near)),
        (
            "are held out, and nearly repeat a row to train on",
            found.on_both_sides.rows,
            report.pairs_text(found.on_both_sides),
        ),
    ]
    title = "; ".join(filter(None, ["Duplicates", report.compared_text()]))
    return table(title, ["rows that", "rows", "which"], [[w, f"{n:,}", p] for w, n, p in rows if n])
