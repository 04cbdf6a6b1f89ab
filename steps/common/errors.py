"""The errors of steps, told apart by what should happen next.

StepError
  ParamsError       exit 2   the input is wrong; the user changes it
  PermanentError    exit 3   trying again gives the same; the user changes something else
  CapacityError     exit 4   no machine to be had; the next SKU or zone may do
  TransientError    exit 75  the template retries it with backoff
  Interrupted       exit 75  the step was asked to stop

Exit codes 64 and 65 belong to Argo's emissary, 137 and 143 to the kernel and the kubelet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class StepError(Exception):
    """A failure with a message for the user and an exit code for Argo."""

    exit_code: ClassVar[int] = 3


class ParamsError(StepError):
    """Every problem of one input, each naming the field, the value and what is accepted."""

    exit_code = 2

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class PermanentError(StepError):
    """A failure that another try would repeat."""

    exit_code = 3


class CapacityError(StepError):
    """The cloud has no such machine now; another SKU or zone may do."""

    exit_code = 4


class TransientError(StepError):
    """A failure that may be gone on the next try; Argo retries exit code 75."""

    exit_code = 75


class Interrupted(StepError):
    """The step was asked to stop and kept its work; the next try goes on from there. No
    TransientError, although retried like one: what waits out those must not wait this out."""

    exit_code = 75
