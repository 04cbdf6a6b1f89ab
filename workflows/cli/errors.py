"""The failure of a command: one line per problem on stderr and a documented exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

RUN_FAILED = 1
INPUT_WRONG = 2
NOT_POSSIBLE = 3
INTERRUPTED = 130


class CliError(Exception):
    """A failure that the user can do something about."""

    exit_code: ClassVar[int] = NOT_POSSIBLE

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class RunFailed(CliError):
    """The run failed for a reason that Argo does not report."""

    exit_code = RUN_FAILED


class InputError(CliError):
    """An argument or a named file is wrong."""

    exit_code = INPUT_WRONG
