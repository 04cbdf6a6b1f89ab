"""The answer to a run of this machine that waits for its approval."""

from __future__ import annotations

from argotune.steps.common.user import user_name
from argotune.steps.contracts.approval import APPROVE, DECISION, REASON
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import find_run
from argotune.workflows.cli.show.approval import answer_by, approval_of, no_question
from argotune.workflows.engine.controller.suspend import Resumption
from argotune.workflows.engine.record import request_resume


def decide(here: Home, name: str, decision: str, reason: str) -> str:
    """Answer the run that the name means, and return what was said.

    Raises InputError where no run of this name waits for its approval.
    """
    run = find_run(here, name)
    asked = approval_of(run.workflow)
    if run.is_resumable and asked is not None and asked.is_waiting:
        raise InputError(
            f"run {run.name} does not wait, because it was interrupted; `argotune run --resume"
            f" {run.name}` asks again"
        )
    if asked is None or not asked.is_waiting:
        raise InputError(no_question(run.workflow))
    said = answer_by(user_name(), decision)
    outputs = {DECISION: decision, REASON: reason}
    request_resume(run.directory, Resumption(node=APPROVE, outputs=outputs, message=said))
    return f"run {run.name}: {said}"
