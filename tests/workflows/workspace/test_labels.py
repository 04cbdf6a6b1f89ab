from __future__ import annotations

from typing import Any

from argotune.workflows.workspace.workflow import (
    cron_workflow,
    referring_workflow,
    whole_workflow,
)
from tests.workflows.workspace.helpers import changed, problems_of, read

TEAM = changed({"metadata/labels": {"team": "search", "example.com/cost-centre": "42"}})
LABELS = {"team": "search", "example.com/cost-centre": "42"}


def test_the_labels_of_the_file_are_those_of_its_runs() -> None:
    workspace = read(TEAM)
    for _, workflow in (
        whole_workflow(workspace, allow_loopback=False, images={}),
        referring_workflow(workspace, allow_loopback=False),
    ):
        labels: dict[str, Any] = workflow["metadata"]["labels"]
        assert labels.items() >= LABELS.items()
        assert labels["argotune.dev/workspace"] == "my-model"
    _, cron = cron_workflow(workspace, allow_loopback=False, schedule="0 3 * * *")
    assert cron["spec"]["workflowMetadata"] == {"labels": LABELS}


def test_a_schedule_of_a_file_without_labels_says_nothing_of_them() -> None:
    _, cron = cron_workflow(read(changed({})), allow_loopback=False, schedule="0 3 * * *")
    assert "workflowMetadata" not in cron["spec"]


def test_labels_that_steer_a_workflow_are_not_handed_on() -> None:
    steering = {
        "workflows.argoproj.io/completed": "true",
        "argotune.dev/workspace": "other",
        "app.kubernetes.io/name": "phi",
        "kaito.sh/workspace": "phi",
    }
    workspace = read(changed({"metadata/labels": steering}))
    assert workspace.labels == {"kaito.sh/workspace": "phi"}
    assert [w for w in workspace.warnings if w.startswith("metadata.labels")] == [
        "metadata.labels.workflows.argoproj.io/completed: not handed on to runs",
        "metadata.labels.argotune.dev/workspace: not handed on to runs",
        "metadata.labels.app.kubernetes.io/name: not handed on to runs",
    ]


def test_what_kubernetes_takes_for_no_label_is_refused() -> None:
    problems = problems_of(changed({"metadata/labels": {"team": "search & ads", "a b": "c"}}))
    assert [each.partition(": ")[0] for each in problems] == [
        "metadata.labels.team",
        "metadata.labels.a b",
    ]
