"""The error of a workspace file."""

from __future__ import annotations

from collections.abc import Sequence


class WorkspaceError(Exception):
    """Every problem of the files, each with the field's path, its value, and what is accepted."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))
