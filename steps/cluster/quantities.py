"""Quantities as the API server writes them: 4, 500m, 16Gi, 1e3."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([numkMGTPE]|[KMGTPE]i)?")
_FACTORS = {
    **{unit: Decimal(1000) ** power for power, unit in enumerate("num", start=-3)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
"""Suffix -> its factor."""


def quantity(value: object) -> Decimal:
    """Return the number that a quantity stands for. Raises ValueError for any other text."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is no quantity such as 500m or 16Gi")
    return Decimal(match[1]) * _FACTORS.get(match[2] or "", Decimal(1))
