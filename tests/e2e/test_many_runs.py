"""Fifty runs at once, of steps that do nothing: what controller, API server and command line make
of many, and that none of them fails for the others."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from argotune.workflows.cli.show.workflow_json import COMPLETED_LABEL
from tests.e2e.cluster import CALL_SECONDS, Cluster, wait_for
from tests.e2e.runs import ALL_WELL, ARGO, Run
from tests.e2e.stand_in import arguments_of

_RUNS = 50
_AT_ONCE = 10
"""Requests, as kubectl sends them."""
_RUN_SECONDS = 5400
"""The pods of all runs share the cores: eight pods each, a few seconds of a core for each."""
_FIRST_SECONDS = 600
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.weekly,
    pytest.mark.timeout(_RUN_SECONDS + 4 * CALL_SECONDS),
]


def test_fifty_runs_at_once_all_run_and_all_end_well(cluster: Cluster, stand_ins: None) -> None:
    _wait_for_template(cluster)
    names = [f"many-{number}" for number in range(_RUNS)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = list(pool.map(lambda name: _submit(cluster, name), names))
    listed = _workspaces(cluster)
    wait_for("end of all runs", lambda: _all_have_ended(cluster), seconds=_RUN_SECONDS)
    ended = [run.ends("Succeeded", seconds=CALL_SECONDS) for run in runs]
    assert sorted(listed) == sorted([*names, "first"])
    for run in ended:
        assert run.phases() == ALL_WELL, run.explain()
        assert len(run.tries("release")) == 1
    began = [run.workflow["status"]["startedAt"] for run in ended]
    finished = [run.workflow["status"]["finishedAt"] for run in ended]
    assert max(began) < min(finished), "they did not all run at the same time"
    # The volume of a run that has succeeded goes with it.
    assert [run.name for run in ended if run.volumes()] == []


def _all_have_ended(cluster: Cluster) -> bool:
    """Ask for the metadata alone: whole runs would keep the API server busier than they do.

    On a machine that is busy with fifty runs it may still fail to answer, and is asked again.
    """
    try:
        return not cluster.metadata(ARGO, "workflows", labelSelector=f"{COMPLETED_LABEL}!=true")
    except (httpx.TransportError, AssertionError):
        return False


def _wait_for_template(cluster: Cluster) -> None:
    """Wait until the controller knows the template: a run of one that was made just now fails."""

    def is_known() -> bool:
        run = _submit(cluster, "first")
        wait_for(
            f"phase of {run.name}",
            lambda: run.refresh() and run.phase != "Pending",
            seconds=_FIRST_SECONDS,
        )
        if run.phase == "Error":
            run.delete()
            return False
        return True

    wait_for("template", is_known, seconds=_FIRST_SECONDS)


def _submit(cluster: Cluster, name: str) -> Run:
    parameters = [{"name": key, "value": value} for key, value in arguments_of(name).items()]
    created = cluster.create(
        {
            "apiVersion": ARGO,
            "kind": "Workflow",
            "metadata": {
                "generateName": f"{name}-",
                "namespace": cluster.namespace,
                "labels": {"argotune.dev/workspace": name},
            },
            "spec": {
                "workflowTemplateRef": {"name": "finetune"},
                "arguments": {"parameters": parameters},
            },
        }
    )
    return Run(cluster, created["metadata"]["name"])


def _workspaces(cluster: Cluster) -> list[str]:
    """The workspaces that `argotune status` shows."""
    command = [sys.executable, "-m", "argotune.workflows.cli", "status", "-n", cluster.namespace]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=True)
    return [line.split()[0] for line in done.stdout.splitlines()[1:]]
