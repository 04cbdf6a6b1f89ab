from __future__ import annotations

from typing import Any

import pytest

from argotune.workflows.cli.checks import trial_run
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.installation.objects import RUNS_POLICY
from argotune.workflows.templates import admission
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import REGISTRY, healthy, look, messages


def tried(server: ApiServer, status: Object | None, **changes: Any) -> tuple[list[str], Object]:
    """What is said of a trial run with this status, and the Workflow."""
    made: list[Object] = []

    def on_create(server: ApiServer, path: str, workflow: Object) -> None:
        made.append(workflow)
        if status is not None:
            workflow["status"] = status

    server.on_create = on_create
    found = messages(look(server, trial_run.trial_run, **changes))
    assert server.of_kind("Workflow") == []
    return found, made[0]


def test_a_run_that_ends_well() -> None:
    found, workflow = tried(healthy(), {"phase": "Succeeded"})
    assert found == ["ok: a trial run of one pod ended well after 0 s"]
    (template,) = workflow["spec"]["templates"]
    assert template["container"]["image"] == f"{REGISTRY}/argotune-plan:0.1.0"
    assert template["executor"] == {"serviceAccountName": "argotune-step"}
    assert template["automountServiceAccountToken"] is False
    assert workflow["spec"]["securityContext"]["runAsNonRoot"] is True


def test_a_run_without_a_pod_where_nothing_is_installed() -> None:
    server = healthy()
    server.objects = {
        path: item for path, item in server.objects.items() if "/serviceaccounts/" not in path
    }
    found, workflow = tried(server, {"phase": "Succeeded"})
    assert found == [
        "info: the controller takes Workflows of this namespace (a trial without a pod ended after "
        "0 s)"
    ]
    assert workflow["spec"]["templates"] == [{"name": "trial", "suspend": {"duration": "1"}}]


def test_the_policy_has_the_name_that_is_looked_for() -> None:
    assert RUNS_POLICY == admission.RUNS


def test_a_person_who_may_only_submit_runs_is_told_so() -> None:
    server = healthy()
    policy = f"ValidatingAdmissionPolicy '{RUNS_POLICY}-team-a' denied request: spec: accepted"
    server.refusals["POST workflows"] = (422, policy)
    assert messages(look(server, trial_run.trial_run)) == [
        "unknown: whether a trial run ends well: the installation lets you submit runs of its "
        "template alone; it takes the right to create pods"
    ]


def test_no_controller_takes_it() -> None:
    assert tried(healthy(), None)[0] == ["problem: no controller took a trial run in 30 s"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {
                "phase": "Error",
                "message": "child failed",
                "nodes": {"a": {"message": "pods is forbidden:\nviolates PodSecurity"}},
            },
            "a trial run ended as Error: pods is forbidden: violates PodSecurity",
        ),
        ({"phase": "Failed"}, "a trial run ended as Failed: no reason given"),
        (
            {"phase": "Running", "nodes": {"a": {"message": "ErrImagePull: not found"}}},
            "a trial run is still Running after 0 s: ErrImagePull: not found",
        ),
        (
            {"phase": "Running", "nodes": {"a": {"message": "Unschedulable: 0/1 nodes"}}},
            "a trial run is still Running after 120 s: Unschedulable: 0/1 nodes",
        ),
        ({"phase": "Running"}, "a trial run is still Running after 120 s"),
    ],
)
def test_a_run_that_does_not_end_well(status: Object, said: str) -> None:
    assert tried(healthy(), status)[0] == [f"problem: {said}"]


def test_a_run_that_the_cluster_refuses() -> None:
    server = healthy()
    server.refusals["POST workflows"] = (403, "exceeded quota: workflows=0")
    assert messages(look(server, trial_run.trial_run)) == [
        "problem: the cluster refuses a trial run: exceeded quota: workflows=0"
    ]


def test_no_trial_without_pulls_or_without_argo() -> None:
    assert look(healthy(), trial_run.trial_run, pull=Pull.NONE) == []
    assert look(ApiServer(kinds=()), trial_run.trial_run) == []
