"""The runs of this machine: one directory each, with the Workflow as its record."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.report import PLAN, RESULT, read_file
from argotune.steps.contracts.services import is_alive, list_services
from argotune.steps.contracts.training_plan import TrainingPlan, parse_plan
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.show.in_service import only_pushed_note
from argotune.workflows.cli.show.workflow_json import (
    WORKSPACE_LABEL,
    is_suspended,
    name_of,
    nodes_of,
    shown_phase,
    workspace_of,
)
from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.orphans import orphans
from argotune.workflows.engine.record import began_at, is_running, load_outline, load_record

_ENDED_WELL = "Succeeded"


@dataclass(frozen=True, kw_only=True)
class LocalRun:
    """One run, as its record has it."""

    directory: Path
    outline: Mapping[str, Any]
    """Its Workflow without specs and inputs of nodes, which is enough to tell runs apart."""

    @functools.cached_property
    def workflow(self) -> Mapping[str, Any]:
        """The whole Workflow, as it is saved when it is first asked for."""
        return load_record(self.directory)

    @property
    def name(self) -> str:
        """Name of the run, which is its Workflow's."""
        return name_of(self.outline)

    @property
    def workspace(self) -> str:
        """Name of the run's workspace."""
        return workspace_of(self.outline)

    @property
    def is_of_workspace(self) -> bool:
        """Whether a workspace made it, and not an Argo Workflow of another origin."""
        return WORKSPACE_LABEL in self.outline["metadata"].get("labels", {})

    @property
    def created(self) -> str:
        """Time at which the run began, RFC 3339."""
        return str(self.outline["metadata"].get("creationTimestamp", ""))

    @property
    def ended(self) -> str | None:
        """Time at which the run ended, RFC 3339; None for one that has not."""
        ended: str | None = self.outline.get("status", {}).get("finishedAt")
        return ended

    @property
    def phase(self) -> str:
        """Argo's phase or Stopped; Interrupted for a Running one whose engine is gone."""
        phase = shown_phase(self.outline)
        if phase in ("Pending", "Running") and not is_running(self.directory):
            return "Interrupted"
        return phase

    @property
    def orphans(self) -> dict[str, set[int]]:
        """The process groups that its killed engine has left, by the step's name."""
        nodes = nodes_of(self.outline)
        return {
            nodes[node_id]["displayName"] if node_id in nodes else node_id: groups
            for node_id, groups in orphans(self.directory).items()
        }

    @property
    def goes_on(self) -> bool:
        """Whether an engine runs it now."""
        return self.phase in ("Pending", "Running")

    @property
    def is_suspended(self) -> bool:
        """Whether it waits to be resumed."""
        return self.phase == "Running" and is_suspended(self.outline)

    @property
    def is_resumable(self) -> bool:
        """Whether `argotune run --resume` can continue it."""
        return self.phase != _ENDED_WELL and not self.goes_on


def processes(groups: Iterable[int]) -> str:
    """Process groups in words."""
    return f"process {', '.join(map(str, sorted(groups)))}"


def local_runs(home: Home) -> list[LocalRun]:
    """List all runs, the newest first; a directory without a record does not count."""
    runs = []
    for path in home.runs_dir.glob("*/"):
        try:
            runs.append(LocalRun(directory=path, outline=load_outline(path)))
        except EngineError:
            continue
    # Argo's times have whole seconds, in which many short runs begin.
    runs.sort(key=lambda run: (run.created, began_at(run.directory)), reverse=True)
    return runs


def newest_of_workspaces(runs: Iterable[LocalRun]) -> dict[str, LocalRun]:
    """Select one run for each workspace, from runs with the newest first."""
    newest: dict[str, LocalRun] = {}
    for run in runs:
        newest.setdefault(run.workspace, run)
    return newest


def runs_meant(runs: Iterable[LocalRun], name: str) -> list[LocalRun]:
    """List the run that a name means, and after it the older ones of a workspace of this name.

    A workspace's name means its newest run; an older run is meant by its own name only.
    """
    runs = list(runs)
    of_workspace = [run for run in runs if run.workspace == name]
    return of_workspace or [run for run in runs if run.name == name]


def not_running(home: Home, name: str) -> str:
    """Say that no service of this name answers, and what to do: start it again, or name another."""
    services = list_services(home.services_dir)
    if any(each.name == name for each in services):
        return f"its service does not run; `argotune start {name}` starts it again"
    running = [each.name for each in services if is_alive(each)]
    there = f"running are {', '.join(running)}" if running else "none is running"
    note = only_pushed_note(run.outline for run in runs_meant(local_runs(home), name))
    return f"no running service of this name on this machine; {there}{note}"


def find_run(home: Home, name: str) -> LocalRun:
    """Find the run that a name means. Raises InputError with the known names if there is none."""
    runs = local_runs(home)
    meant = runs_meant(runs, name)
    if meant:
        return meant[0]
    known = sorted(newest_of_workspaces(runs))
    raise InputError(
        f"{name!r}: no run or workspace of this name on this machine; "
        + (f"there are {', '.join(known)}" if known else "nothing was run yet")
    )


def find_unfinished(home: Home, name: str | None) -> LocalRun:
    """Find the run of that name, which must be resumable; without a name the newest such run.

    Without a name, a run counts only while its workspace has no newer one: the older adapter would
    replace what the newer run deployed. Raises InputError where there is none.
    """
    runs = local_runs(home)
    if name is None:
        for run in newest_of_workspaces(runs).values():
            if run.is_resumable:
                return run
        raise InputError("nothing to resume: no workspace's newest run was interrupted or failed")
    found = find_run(home, name)
    if found.is_resumable:
        return found
    older = [run.name for run in runs_meant(runs, name) if run.is_resumable]
    by_name = f"; older runs go on by their own names: {', '.join(older)}" if older else ""
    raise InputError(f"nothing to resume: {found.name} is {found.phase}{by_name}")


def refuse_ambiguous_names(home: Home, run: str | None, workspace: str) -> None:
    """Keep names of runs and workspaces apart, so that each name means one thing.

    `run` is the name that the user chose for the run. Raises InputError where it is a workspace's,
    or the workspace's is that of a run.
    """
    if run is not None and (run == workspace or run in newest_of_workspaces(local_runs(home))):
        raise InputError(
            f"--name: {run!r} is a workspace's name, which means its newest run; take another"
        )
    if run is None and workspace in {path.name for path in home.runs_dir.glob("*/")}:
        raise InputError(
            f"metadata.name: {workspace!r} is the name of a run on this machine; take another, or"
            f" delete that run: argotune rm {workspace}"
        )


def measured_speed(home: Home, plan: TrainingPlan) -> tuple[str, float] | None:
    """Find the newest run here that tuned the plan's model by its method.

    Returns the run's name and its tokens per second; None where there is none.
    """
    for run in local_runs(home):
        work = run.directory / "claims" / "work"
        made = read_file(work, PLAN)
        if made is None:
            continue
        try:
            other = parse_plan(made.decode())
        except PermanentError:
            continue  # a plan of another version
        if (other.model.preset, other.method) != (plan.model.preset, plan.method):
            continue
        result = read_file(work, RESULT)
        if result is not None:
            return run.name, float(json.loads(result)["result"]["tokens_per_second"])
    return None
