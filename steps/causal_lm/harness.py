"""lm-eval's list of tasks, for the checks that name some of them.

The package is optional and not in every image, so it is imported by name.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from argotune.steps.causal_lm.extras import remedy
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.checks import LmEval


def open_task_list(checks: Sequence[LmEval]) -> Any:
    """lm-eval's TaskManager, which knows all tasks that the checks name.

    It reads the list of all tasks, which takes seconds. Raises PermanentError where the package is
    not installed, and for names that it does not know.
    """
    names = ", ".join(check.title for check in checks)
    if importlib.util.find_spec("lm_eval") is None:
        raise PermanentError(
            f"check {names}: lm-eval is not installed here;"
            f" {remedy('lm-eval', otherwise='remove the check')}"
        )
    manager = importlib.import_module("lm_eval.tasks").TaskManager()
    refuse_unknown(checks, tasks=[*manager.all_subtasks, *manager.all_groups])
    return manager


def refuse_unknown(checks: Sequence[LmEval], *, tasks: Sequence[str]) -> None:
    """Raise PermanentError with all names that are not among the tasks and groups of lm-eval."""
    known = set(tasks)
    problems = [
        f"check {check.title}: {name!r} is no task or group of lm-eval{_advice(name, tasks)}"
        for check in checks
        for name in check.tasks
        if name not in known
    ]
    if problems:
        raise PermanentError("; ".join(problems))


def _advice(name: str, tasks: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, tasks, n=1)
    return f"; did you mean {near[0]}?" if near else "; `lm-eval ls tasks` lists them"
