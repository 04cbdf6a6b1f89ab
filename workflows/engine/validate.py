"""placeholder"""

from typing import Any


def problems_of(*a: Any, **k: Any) -> list[str]:
    return []
