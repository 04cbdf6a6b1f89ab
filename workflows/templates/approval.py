"""The approval of a run: between push and deploy it waits for a person, without a GPU node.

Argo's UI asks for the inputs of a suspended node and sets the outputs of the same names, so the
template has the same in both. Its own DAG keeps the tasks of a run without approval at one that is
skipped.
"""

from __future__ import annotations

from hera.workflows import DAG, Parameter, Suspend, Task
from hera.workflows.models import SuppliedValueFrom, ValueFrom

from argotune.steps.contracts.approval import APPROVE, DECISION, DECISIONS, REASON
from argotune.workflows.templates.finetune_steps import (
    IS_NOTIFIED,
    NOTIFY_WAITING,
    RELEASE_NODE,
)
from argotune.workflows.templates.step import value_of

NAME = "approval"
APPROVED = "approved"
REFUSED = f"{APPROVED}.Skipped"
"""On what the task depends that follows a no."""
_ENDED = ("Succeeded", "Skipped", "Failed", "Errored")
_ANSWER = f"{{{{tasks.{NAME}.outputs.parameters.{DECISION}}}}}"


def templates() -> None:
    """Build the templates; the workflow must be open."""
    Suspend(
        name=APPROVE,
        duration=value_of("approval-timeout-seconds"),
        inputs=[
            Parameter(
                name=DECISION,
                description=(
                    "approve: the adapter goes into service; reject: what is in service stays."
                    " The report is the output `report` of push"
                ),
                enum=list(DECISIONS),
                default="reject",
            ),
            Parameter(name=REASON, description="Kept in the run's outputs", default=""),
        ],
        outputs=[
            _supplied(DECISION, default=value_of("on-approval-timeout")),
            _supplied(REASON, default="nobody decided in time"),
        ],
    )
    Suspend(name=APPROVED, duration="0")
    with DAG(
        name=NAME,
        outputs=[
            _of_answer(DECISION),
            _of_answer(REASON),
        ],
    ):
        RELEASE_NODE.task()
        # A node that is not given back would cost money for as long as somebody thinks.
        NOTIFY_WAITING.task(depends=f"{RELEASE_NODE.name}.Succeeded", when=IS_NOTIFIED)
        # It comes last: what hangs on this DAG and is omitted has the phase of its last task.
        told = (f"{NOTIFY_WAITING.name}.{state}" for state in _ENDED)
        Task(name=APPROVE, template=APPROVE, depends=" || ".join(told))


def tasks(depends: str, when: str) -> str:
    """Call the templates from the open DAG, after the tasks on which the approval depends.

    Nobody is asked unless `when` holds.

    Returns on what the task depends that goes on: no approval is asked for, or it is given. Both
    are states of tasks, because Argo 4.0 waits for ever for the outputs of one that was skipped.
    """
    Task(
        name=NAME,
        template=NAME,
        depends=depends,
        when=f"{value_of('approval')} == required && {when}",
    )
    Task(
        name=APPROVED,
        template=APPROVED,
        depends=f"{NAME}.Succeeded",
        when=f"{_ANSWER} == approve",
    )
    return f"{NAME}.Skipped || {APPROVED}.Succeeded"


def output(name: str) -> Parameter:
    """Build an output of the run from the answer; empty where nobody was asked."""
    return Parameter(
        name=NAME if name == DECISION else f"{NAME}-{name}",
        value_from=ValueFrom(
            parameter=f"{{{{tasks.{NAME}.outputs.parameters.{name}}}}}", default=""
        ),
    )


def _supplied(name: str, *, default: str) -> Parameter:
    supplied = ValueFrom(supplied=SuppliedValueFrom(), default=default)
    return Parameter(name=name, value_from=supplied)


def _of_answer(name: str) -> Parameter:
    tag = f"{{{{tasks.{APPROVE}.outputs.parameters.{name}}}}}"
    return Parameter(name=name, value_from=ValueFrom(parameter=tag, default=""))
