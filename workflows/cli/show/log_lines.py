"""Which lines of a run's logs are printed, and how."""

from __future__ import annotations


def is_wanted(label: str, step: str | None) -> bool:
    """A step's name stands for all its tries too: tune for tune(0) and tune(1)."""
    return step is None or label == step or label.startswith(f"{step}(")


def labelled(line: str, label: str, step: str | None) -> str:
    """The line with its step, unless just that one was asked for."""
    return line if label == step else f"{label}: {line}"
