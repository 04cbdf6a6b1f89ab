"""What a check found: one sentence with the value that was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters; only a problem makes the command fail."""

    OK = "ok"
    INFO = "info"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    message: str
    """One sentence, without a full stop."""
    advice: str = ""
    """What to do; empty where there is nothing to do."""
    command: str = ""
    """The command that does it, where there is one; no secret in it."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A finding and the heading that it belongs under."""

    area: str
    finding: Finding


def ok(message: str) -> Finding:
    """It is as it should be."""
    return Finding(level=Level.OK, message=message)


def info(message: str, advice: str = "", command: str = "") -> Finding:
    """Worth knowing, and nothing wrong."""
    return Finding(level=Level.INFO, message=message, advice=advice, command=command)


def unknown(message: str, advice: str = "", command: str = "") -> Finding:
    """It could not be seen."""
    return Finding(level=Level.UNKNOWN, message=message, advice=advice, command=command)


def warning(message: str, advice: str, command: str = "") -> Finding:
    """Some runs will fail or wait."""
    return Finding(level=Level.WARNING, message=message, advice=advice, command=command)


def problem(message: str, advice: str, command: str = "") -> Finding:
    """No run can do well."""
    return Finding(level=Level.PROBLEM, message=message, advice=advice, command=command)
