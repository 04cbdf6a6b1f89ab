"""What the engine tells of a run while it runs, for the view."""

from __future__ import annotations

import re
from typing import Any

from argotune.workflows.cli.show.approval import approval_advice
from argotune.workflows.cli.show.rows import step_name
from argotune.workflows.cli.show.view import SilentView, View
from argotune.workflows.cli.show.workflow_json import Workflow, is_suspended, name_of

# Events of tune's log, as steps/common/log.py writes them.
_LOSSES = {
    "loss": re.compile(r" INFO step .*\bloss=(\S+)"),
    "held out": re.compile(r" INFO evaluation .*\beval_loss=(\S+)"),
}
_SHUTDOWN = {
    "Stop": "stopping: the steps get time to save their work; Ctrl-C once more kills them at once",
    "Terminate": "killing the steps",
}


class ViewListener:
    """Passes the engine's reports on to the view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._steps: dict[str, str] = {}
        """Name of the step by the id of its node."""
        self._losses: dict[str, dict[str, str]] = {}
        """The newest losses of a step, by what they are."""
        self._was_suspended = False

    def on_workflow(self, workflow: dict[str, Any]) -> None:
        """Show the changed run."""
        is_new = is_suspended(workflow) and not self._was_suspended
        self._was_suspended = is_suspended(workflow)
        try:
            self._view.update(workflow)
            if is_new:
                self._view.say(suspended_advice(workflow))
        except BrokenPipeError:
            # The reader of stdout, such as head, has closed it; the run goes on.
            self._view = SilentView()

    def on_node(self, node: dict[str, Any]) -> None:
        """Keep the name of the node's step."""
        self._steps[node["id"]] = step_name(node).partition("(")[0]

    def on_line(self, node_id: str, text: str) -> None:
        """Show the loss that a line of tune's log tells."""
        found = {name: told for name, pattern in _LOSSES.items() if (told := pattern.search(text))}
        step = self._steps.get(node_id)
        if not found or step is None:
            return
        losses = self._losses.setdefault(step, {})
        losses.update({name: told[1] for name, told in found.items()})
        self._view.note(step, ", ".join(f"{k} {losses[k]}" for k in _LOSSES if k in losses))

    def on_shutdown(self, strategy: str) -> None:
        """Say that the run is being stopped, which may take until the steps have saved."""
        try:
            self._view.say(_SHUTDOWN[strategy])
        except BrokenPipeError:
            self._view = SilentView()


def suspended_advice(workflow: Workflow) -> str:
    """Say how a suspended run goes on."""
    name = name_of(workflow)
    if waits := approval_advice(workflow):
        return f"{name} {waits}"
    return f"{name} is suspended; to let it go on: argotune run --resume {name}"
