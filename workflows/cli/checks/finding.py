"""The result of a check: one sentence with the value that was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding; only a problem makes the command fail."""

    OK = "ok"
    INFO = "info"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one look."""

    level: Level
    message: str
    """One sentence, without a full stop."""
    advice: str = ""
    """What to do; empty where there is nothing to do."""
    command: str = ""
    """The command that does it, where there is one; it contains no secret."""

    def in_one_line(self) -> str:
        """Return the sentence with what to do, as `MESSAGE; ADVICE: COMMAND`."""
        to_do = ": ".join(filter(None, (self.advice, self.command)))
        return "; ".join(filter(None, (self.message, to_do)))


@dataclass(frozen=True, kw_only=True)
class AreaFinding:
    """A finding with the heading of its area."""

    area: str
    finding: Finding


def ok(message: str) -> Finding:
    """Report a correct state."""
    return Finding(level=Level.OK, message=message)


def info(message: str, advice: str = "", command: str = "") -> Finding:
    """Report a fact that is no fault."""
    return Finding(level=Level.INFO, message=message, advice=advice, command=command)


def unknown(message: str, advice: str = "", command: str = "") -> Finding:
    """Report what could not be seen."""
    return Finding(level=Level.UNKNOWN, message=message, advice=advice, command=command)


def warning(message: str, advice: str, command: str = "") -> Finding:
    """Report that some runs will fail or wait."""
    return Finding(level=Level.WARNING, message=message, advice=advice, command=command)


def problem(message: str, advice: str, command: str = "") -> Finding:
    """Report that no run can succeed."""
    return Finding(level=Level.PROBLEM, message=message, advice=advice, command=command)
