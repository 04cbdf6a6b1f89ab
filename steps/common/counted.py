"""Numbers with what they count, as people write them."""

from __future__ import annotations


def counted(number: float, what: str) -> str:
    """Write `1 row` or `1,026 rows`; `what` is the singular of a regular plural."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what}{'' if number == 1 else 's'}"
