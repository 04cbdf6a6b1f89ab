"""What the command lets a person choose."""

from __future__ import annotations

from enum import StrEnum


class Pull(StrEnum):
    """Which images are pulled by short-lived pods."""

    NONE = "none"
    SMALL = "small"
    ALL = "all"
