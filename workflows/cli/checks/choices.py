"""Choices of the command line."""

from __future__ import annotations

from enum import StrEnum


class Pull(StrEnum):
    """The images that short-lived pods pull."""

    NONE = "none"
    SMALL = "small"
    ALL = "all"
