"""Durations as Argo writes them."""

from typing import Any

from argotune.workflows.engine.language.expr.functions import parse_duration


def parse_duration_seconds(value: Any) -> float:
    """Seconds of ``"90"``, ``90`` or ``"1m30s"``; ExpressionError where it is no duration."""
    text = str(value).strip()
    if text.isdigit():
        return float(text)
    return parse_duration(text).total_seconds()
