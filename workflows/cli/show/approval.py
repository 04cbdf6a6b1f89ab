"""The approval of a run for a person: what is asked, until when, and how it was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from argotune.steps.contracts.approval import APPROVE, DECISION, REASON
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.show.workflow_json import (
    Workflow,
    has_ended,
    name_of,
    node_of_step,
    outputs_of_node,
    parameter_of,
    shown_phase,
)

_WORDS = {"approve": "approved", "reject": "rejected"}


@dataclass(frozen=True, kw_only=True)
class Approval:
    """The question of a run that waited, or waits, for its approval."""

    node: Mapping[str, Any]
    """The suspended node of Argo."""
    ends_at: datetime | None
    """When its time is over; None: the Workflow does not say it."""

    @property
    def is_waiting(self) -> bool:
        """Whether nobody has answered yet."""
        return self.node.get("phase") == "Running"

    @property
    def is_rejected(self) -> bool:
        """Whether the answer is that what is in service stays."""
        return self.node.get("phase") == "Succeeded" and self._outputs.get(DECISION) == "reject"

    @property
    def on_timeout(self) -> str:
        """What the adapter is when the time is over: approved or rejected."""
        parameters = (self.node.get("outputs") or {}).get("parameters") or []
        defaults = {
            each["name"]: (each.get("valueFrom") or {}).get("default") for each in parameters
        }
        return _WORDS.get(str(defaults.get(DECISION)), "rejected")

    @property
    def answer(self) -> str:
        """Who answered what, and why; empty while nobody has."""
        word = _WORDS.get(self._outputs.get(DECISION, ""), "")
        if self.node.get("phase") != "Succeeded" or not word:
            return ""
        said = str(self.node.get("message") or "")
        # Argo's server writes who resumed the node.
        who = said if said.startswith(f"{word} by ") or not said else f"{word} ({said})"
        return ": ".join(filter(None, (who or word, self._outputs.get(REASON))))

    @property
    def _outputs(self) -> Mapping[str, str]:
        return outputs_of_node(self.node)


def approval_of(workflow: Workflow) -> Approval | None:
    """Find the approval of a run; None for one that has not come to it, or needs none."""
    node = node_of_step(workflow, APPROVE)
    if node.get("type") != "Suspend":
        return None
    seconds = parameter_of(workflow, "approval-timeout-seconds")
    if not seconds.isdigit() or not node.get("startedAt"):
        return Approval(node=node, ends_at=None)
    began = datetime.fromisoformat(str(node["startedAt"]))
    return Approval(node=node, ends_at=began + timedelta(seconds=int(seconds)))


def the_waiting(name: str, runs: Sequence[Workflow]) -> Workflow | None:
    """Select the run of a workspace that waits for its approval; None where none does.

    Raises InputError where several do: an answer is to one adapter.
    """
    waiting = [run for run in runs if (asked := approval_of(run)) and asked.is_waiting]
    if len(waiting) > 1:
        names = ", ".join(map(name_of, waiting))
        raise InputError(
            f"{name!r}: {len(waiting)} runs of it wait for their approval; name one: {names}"
        )
    return waiting[0] if waiting else None


def answer_by(user: str, decision: str) -> str:
    """Say who answered what, as the message of the node."""
    return " by ".join(filter(None, (_WORDS[decision], user)))


def no_question(workflow: Workflow) -> str:
    """Say why the run waits for no answer."""
    run, found = f"run {name_of(workflow)}", approval_of(workflow)
    if found is not None and found.answer:
        return f"{run} was {found.answer}"
    if has_ended(workflow):
        return f"{run} waits for no approval: it has ended ({shown_phase(workflow)})"
    if parameter_of(workflow, "approval") != "required":
        return f"{run} waits for no approval: its file does not say argotune.dev/approval: required"
    return f"{run} does not wait for its approval yet; it will after push"


def approval_advice(workflow: Workflow, flags: str = "") -> str:
    """Say how a run that waits for its approval goes on; empty for every other one."""
    found = approval_of(workflow)
    if found is None or not found.is_waiting:
        return ""
    until = f" until {found.ends_at:%Y-%m-%d %H:%M} UTC" if found.ends_at else ""
    name = " ".join(filter(None, (name_of(workflow), flags)))
    return (
        f"awaits approval{until}, then it is {found.on_timeout}: read `argotune report {name}`,"
        f" decide by `argotune approve {name}` or `argotune reject {name}`"
    )
