"""Printing the findings about a cluster."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from argotune.workflows.cli.checks.finding import Finding, Level

_STYLES = {
    Level.OK: "green",
    Level.INFO: "cyan",
    Level.UNKNOWN: "magenta",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
}
_LEVEL_COLUMNS = max(map(len, Level)) + 2


def print_finding(out: Console, finding: Finding) -> None:
    """Print level and sentence, and below them what to do."""
    level = Text(f"  {finding.level:<{_LEVEL_COLUMNS}}", style=_STYLES[finding.level])
    indent = " " * len(level)
    # Whole lines, because the terminal wraps them and a copied command then has no line break.
    out.print(level + Text(finding.message), soft_wrap=True)
    if finding.advice:
        out.print(Text(f"{indent}{finding.advice}"), soft_wrap=True)
    if finding.command:
        out.print(Text(f"{indent}$ {finding.command}"), soft_wrap=True)
