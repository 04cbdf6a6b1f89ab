"""The answer to a run of this machine that waits for its approval."""

from __future__ import annotations

from argotune.steps.common.user import user_name
from argotune.steps.contracts.approval import APPROVE, DECISION, REASON
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import LocalRun, find_run, local_runs, runs_meant
from argotune.workflows.cli.show.approval import answer_by, approval_of, no_question, the_waiting
from argotune.workflows.cli.show.workflow_json import name_of
from argotune.workflows.engine.controller.suspend import Resumption
from argotune.workflows.engine.record import request_resume


def decide(here: Home, name: str, decision: str, reason: str) -> str:
    """Answer the run that the name means, and return what was said.

    Raises InputError where no run of this name waits for its approval, or several do.
    """
    run = _run_meant(here, name)
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


def _run_meant(here: Home, name: str) -> LocalRun:
    """Find the run of a workspace that waits, behind newer runs too; else what the name means."""
    runs = {run.name: run for run in runs_meant(local_runs(here), name) if run.goes_on}
    waiting = the_waiting(name, [run.workflow for run in runs.values()])
    return find_run(here, name) if waiting is None else runs[name_of(waiting)]
