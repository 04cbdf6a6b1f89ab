"""The failure of a command: one line per problem on stderr and a documented exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

from argotune.steps.common.errors import StepError
from argotune.workflows.engine.errors import EngineError
from argotune.workflows.workspace.fields import WorkspaceError

S = TypeVar("S")
T = TypeVar("T")

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


def read_both(one: Callable[[], S], other: Callable[[], T]) -> tuple[S, T]:
    """Read two parts of a command's input. Raises one InputError with the problems of both."""
    try:
        first = one()
    except InputError as error:
        with _before(error.problems):
            other()
        raise
    return first, other()


@contextlib.contextmanager
def _before(problems: Sequence[str]) -> Iterator[None]:
    """Name these problems first where the block has further ones."""
    try:
        yield
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error


def as_cli_error(error: Exception) -> CliError | None:
    """Return the same failure with the command line's exit code; None for a bug.

    A file that is wrong is an InputError, and what the system refuses is a CliError.
    """
    if isinstance(error, CliError):
        return error
    if isinstance(error, (EngineError, WorkspaceError)):
        return InputError(error.problems)
    if isinstance(error, StepError):
        problems = getattr(error, "problems", [str(error)])
        return InputError(problems) if error.exit_code <= INPUT_WRONG else CliError(problems)
    if isinstance(error, OSError):
        return CliError(os_message(error))
    return None


def os_message(error: OSError) -> str:
    """Say what the system refused, with the file's name where it is known."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
