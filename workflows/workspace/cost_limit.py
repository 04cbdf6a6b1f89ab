"""Whether a run can be done for what it may cost, as far as the file and its plan say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argotune.steps.plan.planning import cost_limit_problem
from argotune.steps.settings.step_params import cost_limit_problems
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.node_request import request_of

if TYPE_CHECKING:
    from argotune.workflows.workspace.planned import Planned

_SETTING = "max-cost-usd"


def check_cost_limit(planned: Planned, *, dataset_tokens: int | None) -> None:
    """Refuse a limit that is sure to end the run early, or that nobody can keep.

    Raises WorkspaceError. `dataset_tokens`, those of one epoch, are None where nobody knows them.
    """
    workspace = planned.workspace
    options = workspace.options
    problems = [
        f"{workspace.place_of('at-cost-limit')}: {each}"
        for each in cost_limit_problems(planned.plan.evaluation, options)
    ]
    text = options.get(_SETTING)
    if text is not None and (problem := _problem(planned, float(text), dataset_tokens)):
        problems.append(f"{workspace.place_of(_SETTING)}: {problem}")
    if problems:
        raise WorkspaceError(problems)


def _problem(planned: Planned, limit_usd: float, dataset_tokens: int | None) -> str:
    return cost_limit_problem(
        limit_usd,
        planned.params,
        request_of(planned),
        dataset_tokens=dataset_tokens,
        ends_by_itself=planned.workspace.options.get("at-cost-limit") == "push",
    )
