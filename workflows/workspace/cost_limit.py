"""Whether a run can be done for what it may cost, as far as the file and its plan say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argotune.steps.nodes.cost_limit import STOPPING_SECONDS, price_problem
from argotune.steps.plan.planning import least_cost_usd
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.node_request import request_of
from argotune.workflows.workspace.run_settings import place_of

if TYPE_CHECKING:
    from argotune.workflows.workspace.planned import Planned

_SETTING = "max-cost-usd"


def check_cost_limit(planned: Planned, *, dataset_tokens: int | None) -> None:
    """Refuse a limit that is sure to end the run early, or that nobody can keep.

    Raises WorkspaceError. `dataset_tokens`, those of one epoch, are None where nobody knows them.
    """
    text = planned.workspace.options.get(_SETTING)
    if text is None:
        return
    limit_usd, request = float(text), request_of(planned)
    problem = price_problem(limit_usd, request)
    least_usd = least_cost_usd(
        planned.params,
        request.instance_types,
        dataset_tokens=dataset_tokens,
        further_hours=STOPPING_SECONDS / 3600,
    )
    if not problem and least_usd is not None and limit_usd < least_usd:
        problem = (
            f"{text}, but by its plan the run costs at least {least_usd:.2f} USD, "
            f"{STOPPING_SECONDS:.0f} s for stopping included; accepted is an amount above it, a "
            "cheaper machine or fewer steps"
        )
    if problem:
        raise WorkspaceError([f"{place_of(_SETTING)}: {problem}"])
