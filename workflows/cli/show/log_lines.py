"""Which lines of a run's logs are printed, and how."""

from __future__ import annotations


def is_wanted(label: str, step: str | None) -> bool:
    """Whether the line is selected: `tune` selects its tries tune(0) and tune(1) too."""
    return step is None or label == step or label.startswith(f"{step}(")


def label_line(line: str, label: str, step: str | None) -> str:
    """Put the step's name before the line, unless only that step was selected."""
    return line if label == step else f"{label}: {line}"
