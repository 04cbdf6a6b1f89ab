"""The errors of steps; each class stands for one reaction to a failure.

StepError
  ParamsError       exit 2   the input is wrong; the user changes it
  PermanentError    exit 3   a retry fails the same way; the user changes something else
  CapacityError     exit 4   no machine is available; another SKU or zone may have one
  TransientError    exit 75  the template retries it with backoff
Interrupted         exit 75  the step was stopped by a signal

Exit codes 64 and 65 belong to Argo's emissary, 137 and 143 to the kernel and the kubelet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar


class StepError(Exception):
    """A failure with a message for the user and an exit code for Argo."""

    exit_code: ClassVar[int] = 3


class ParamsError(StepError):
    """All problems of one input; each names the field, the value and what is accepted."""

    exit_code = 2

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class PermanentError(StepError):
    """A failure that a retry would repeat."""

    exit_code = 3


class CapacityError(StepError):
    """The cloud has no such machine now; another SKU or zone may have one."""

    exit_code = 4


class TransientError(StepError):
    """A failure that a retry may not meet again; Argo retries exit code 75."""

    exit_code = 75


class Interrupted(BaseException):
    """The step was stopped by a signal and has saved its work, so that a retry resumes there.

    Argo retries it like a TransientError. Like KeyboardInterrupt it is no Exception: code that goes
    on after a failure, ours or a library's, must end on a signal.
    """

    exit_code: ClassVar[int] = 75


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """List the error and those that it was raised from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
