"""The runs of this machine: one directory each, with the Workflow as its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.show.workflow_json import (
    is_suspended,
    name_of,
    shown_phase,
    workspace_of,
)
from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.orphans import orphans
from argotune.workflows.engine.record import is_running, load_record

_ENDED_WELL = "Succeeded"


@dataclass(frozen=True, kw_only=True)
class LocalRun:
    """One run, as its record has it."""

    directory: Path
    workflow: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the run, which is its Workflow's."""
        return name_of(self.workflow)

    @property
    def workspace(self) -> str:
        """Name of the run's workspace."""
        return workspace_of(self.workflow)

    @property
    def status(self) -> Mapping[str, Any]:
        """Argo's status of the Workflow."""
        status: Mapping[str, Any] = self.workflow.get("status", {})
        return status

    @property
    def phase(self) -> str:
        """Argo's phase or Stopped; Interrupted for a Running one whose engine is gone."""
        phase = shown_phase(self.workflow)
        if phase in ("Pending", "Running") and not is_running(self.directory):
            return "Interrupted"
        return phase

    @property
    def orphans(self) -> dict[str, set[int]]:
        """The process groups that its killed engine has left, by the step's name."""
        nodes = self.status.get("nodes", {})
        return {
            nodes[node_id]["displayName"] if node_id in nodes else node_id: groups
            for node_id, groups in orphans(self.directory).items()
        }

    @property
    def is_suspended(self) -> bool:
        """Whether it waits to be resumed."""
        return self.phase == "Running" and is_suspended(self.workflow)

    @property
    def is_resumable(self) -> bool:
        """Whether `argotune run --resume` can continue it."""
        return self.phase not in (_ENDED_WELL, "Running", "Pending")


def processes(groups: Iterable[int]) -> str:
    """Process groups in words."""
    return f"process {', '.join(map(str, sorted(groups)))}"


def local_runs(home: Home) -> list[LocalRun]:
    """List all runs, the newest first; a directory without a record does not count."""
    runs = []
    for path in home.runs_dir.glob("*/"):
        try:
            runs.append(LocalRun(directory=path, workflow=load_record(path)))
        except EngineError:
            continue
    runs.sort(key=lambda run: str(run.workflow["metadata"].get("creationTimestamp", "")))
    return runs[::-1]


def find_run(home: Home, name: str) -> LocalRun:
    """Find the run of this name, or the newest of the workspace of this name."""
    runs = local_runs(home)
    for run in runs:
        if run.name == name:
            return run
    for run in runs:
        if run.workspace == name:
            return run
    known = sorted({run.workspace for run in runs})
    raise InputError(
        f"{name!r}: no run or workspace of this name on this machine; "
        + (f"there are {', '.join(known)}" if known else "nothing was run yet")
    )


def find_unfinished(home: Home, name: str | None) -> LocalRun:
    """Find the newest run that can be resumed, by a run's or workspace's name where given."""
    newest = find_run(home, name) if name else None
    for run in local_runs(home):
        if name in (None, run.name, run.workspace) and run.is_resumable:
            return run
    if newest is None:
        raise InputError("nothing to resume: no run was interrupted or failed")
    raise InputError(f"nothing to resume: {newest.name} is {newest.phase}")
