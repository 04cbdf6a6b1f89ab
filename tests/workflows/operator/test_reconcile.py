"""One Workspace and what the operator makes of it, before a fake API server."""

from __future__ import annotations

import re

import pytest

from argotune.steps.cluster.errors import ApiError
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.installation.operator import FINALIZER
from argotune.workflows.workspace import manifests
from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.cluster_workflows import step
from tests.workflows.cli.status import node
from tests.workflows.operator.acting import KEY, NAME, NAMESPACE, Acting
from tests.workflows.workspace.helpers import CONFIG_MAP, QUICK_START

URL = "https://example.com/data.parquet"
WITH_TOKEN = {"tuning/input": {"urls": [f"{URL}?sig=hunter2"]}}


def arguments(workflow: dict[str, object]) -> dict[str, str]:
    spec = workflow["spec"]
    assert isinstance(spec, dict)
    return {item["name"]: item["value"] for item in spec["arguments"]["parameters"]}


def test_an_applied_workspace_becomes_one_workflow_that_it_owns(acting: Acting) -> None:
    acting.apply()
    acting.look()
    (run,) = acting.runs
    assert re.fullmatch(r"my-model-[0-9a-f]{10}", run["metadata"]["name"])
    assert run["spec"]["workflowTemplateRef"] == {"name": "finetune"}
    assert "suspend" not in run["spec"]
    assert arguments(run)["urls"] == f'["{URL}"]'
    (owner,) = run["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Workspace", NAME, "uid-1")
    assert acting.workspace["metadata"]["finalizers"] == [FINALIZER]
    assert acting.own["run"] == run["metadata"]["name"]
    assert acting.condition("Planned")[:2] == ("True", "Planned")
    assert [reason for reason, _ in acting.said] == ["RunStarted"]


def test_unchanged_content_starts_no_other_run_and_writes_nothing(
    acting: Acting, cluster: Cluster
) -> None:
    acting.apply()
    acting.look()
    acting.look()
    del cluster.requests[:]
    acting.look()
    acting.restart()
    acting.look()
    assert len(acting.runs) == 1
    assert [each for each in cluster.requests if not each.startswith("GET")] == []


def test_a_secret_of_urls_is_there_before_the_run_begins(acting: Acting, cluster: Cluster) -> None:
    acting.apply(WITH_TOKEN)
    acting.look()
    (run,) = acting.runs
    name = run["metadata"]["name"]
    secret = cluster.objects["Secret", NAMESPACE, f"{name}-urls"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    assert "hunter2" not in str(run)
    let_go = next(
        i for i, it in enumerate(cluster.requests) if it.startswith("PATCH") and name in it
    )
    made = next(
        i for i, it in enumerate(cluster.requests) if it.startswith("POST") and "secrets" in it
    )
    assert made < let_go


@pytest.mark.parametrize(
    "change",
    [
        {"tuning/input": {"urls": [f"{URL}2"]}},
        {"tuning/method": "qlora"},
        {"metadata/annotations": {"argotune.dev/provider": "existing", "argotune.dev/gate": "off"}},
        {"metadata/annotations": {"argotune.dev/provider": "existing", "argotune.dev/rerun": "2"}},
    ],
    ids=["field", "method", "annotation", "rerun"],
)
def test_a_change_starts_another_run_and_stops_the_one_before(
    acting: Acting, change: dict[str, object]
) -> None:
    acting.apply()
    acting.look()
    (before,) = acting.runs
    acting.apply(change)
    acting.look()
    acting.look()
    assert len(acting.runs) == 2
    stopped = acting.cluster.objects["Workflow", NAMESPACE, before["metadata"]["name"]]
    assert stopped["spec"]["shutdown"] == "Stop"
    (after,) = [run for run in acting.runs if run["metadata"]["name"] != before["metadata"]["name"]]
    assert "shutdown" not in after["spec"]
    assert acting.own["run"] == after["metadata"]["name"]


def test_a_change_that_is_taken_back_is_run_again(acting: Acting) -> None:
    for change in ({}, {"tuning/method": "qlora"}, {}):
        acting.apply(change)
        acting.look()
    assert len(acting.runs) == 3


def test_labels_and_foreign_annotations_start_no_run(acting: Acting) -> None:
    acting.apply()
    acting.look()
    annotations = {"argotune.dev/provider": "existing", "helm.sh/chart": "models-2"}
    acting.apply({"metadata/labels": {"release": "7"}, "metadata/annotations": annotations})
    acting.look()
    assert len(acting.runs) == 1


def test_the_one_before_goes_on_where_the_workspace_says_so(acting: Acting) -> None:
    acting.apply()
    acting.look()
    annotations = {"argotune.dev/provider": "existing", "argotune.dev/on-change": "keep"}
    acting.apply({"tuning/method": "qlora", "metadata/annotations": annotations})
    acting.look()
    acting.look()
    assert [run["spec"].get("shutdown") for run in acting.runs] == [None, None]


def test_a_changed_config_map_starts_a_run(acting: Acting, cluster: Cluster) -> None:
    def put(rank: int) -> None:
        config = f"training_config:\n  LoraConfig:\n    r: {rank}\n"
        cluster.put(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "my-config", "namespace": NAMESPACE},
                "data": {"training_config.yaml": config},
            }
        )

    acting.apply({"tuning/config": "my-config"})
    acting.look()
    assert acting.runs == []
    status, reason, message = acting.condition("Planned")
    assert (status, reason) == ("False", "Refused")
    assert "'my-config' is no ConfigMap in the files or the cluster" in message
    assert acting.seen.keys_with_config_map(NAMESPACE, "my-config") == [KEY]
    for rank in (8, 16, 16):
        put(rank)
        acting.look()
    assert len(acting.runs) == 2
    assert CONFIG_MAP.count("r: 8") == 1


def test_every_problem_is_a_condition_and_an_event_and_nothing_runs(acting: Acting) -> None:
    acting.apply({"tuning/preset/name": "phi-33", "tuning/methdo": "lora"})
    wait = acting.look()
    assert acting.runs == []
    status, reason, message = acting.condition("Planned")
    assert (status, reason) == ("False", "Refused")
    assert "tuning.methdo: unknown field; did you mean" in message
    assert "tuning.preset.name: 'phi-33'" in message
    assert acting.said == [("Refused", message)]
    assert wait is not None
    assert wait <= 60
    acting.look()
    assert len(acting.said) == 1
    acting.apply()
    acting.look()
    assert len(acting.runs) == 1
    assert acting.condition("Planned")[0] == "True"


def test_the_quick_start_with_its_placeholders_is_refused(acting: Acting) -> None:
    acting.apply(base=QUICK_START)
    acting.look((NAMESPACE, "workspace-tuning-phi-3"))
    assert acting.runs == []
    ((reason, message),) = acting.said
    assert reason == "Refused"
    assert "ACR_REPO_HERE" in message


def test_a_secret_that_comes_later_lets_the_run_begin(acting: Acting, cluster: Cluster) -> None:
    secret = cluster.take("Secret", NAMESPACE, "my-secret")
    acting.apply()
    acting.look()
    assert acting.runs == []
    assert acting.condition("Planned")[2] == (
        "tuning.output.imagePushSecret: 'my-secret'; no Secret of this name is in namespace team-a"
    )
    cluster.put(secret)
    acting.look()
    assert len(acting.runs) == 1


def test_a_namespace_without_an_installation_is_told(acting: Acting, cluster: Cluster) -> None:
    cluster.take("WorkflowTemplate", NAMESPACE, "finetune")
    acting.apply()
    acting.look()
    assert "WorkflowTemplate finetune is not in namespace team-a" in acting.condition("Planned")[2]


def test_a_workspace_that_is_not_managed_is_left_alone(acting: Acting, cluster: Cluster) -> None:
    acting.apply({"metadata/annotations": {"argotune.dev/managed": "false"}})
    assert acting.look() is None
    assert "status" not in acting.workspace
    acting.managed_only = True
    acting.restart()
    acting.apply()
    assert acting.look() is None
    acting.annotate(managed="true")
    acting.look()
    assert len(acting.runs) == 1


def test_a_suspended_workspace_starts_nothing_and_has_its_run_wait(acting: Acting) -> None:
    acting.apply()
    acting.annotate(suspend="true")
    acting.look()
    assert acting.runs == []
    assert acting.condition("Planned")[1] == "Suspended"
    acting.annotate(suspend=None)
    acting.look()
    (run,) = acting.runs
    name = run["metadata"]["name"]
    for suspend, is_suspended in (("true", True), (None, False)):
        acting.annotate(suspend=suspend)
        acting.look()
        held = acting.cluster.objects["Workflow", NAMESPACE, name]
        assert bool(held["spec"].get("suspend")) is is_suspended


def test_a_run_that_a_person_suspended_stays_so(acting: Acting, cluster: Cluster) -> None:
    acting.apply()
    acting.look()
    (run,) = acting.runs
    cluster.put({**run, "spec": {**run["spec"], "suspend": True}})
    acting.look()
    (after,) = acting.runs
    assert after["spec"]["suspend"] is True


def test_a_run_that_is_deleted_does_not_come_back(acting: Acting, cluster: Cluster) -> None:
    acting.apply()
    acting.look()
    (run,) = acting.runs
    acting.play(run["metadata"]["name"], phase="Succeeded")
    acting.look()
    cluster.take("Workflow", NAMESPACE, run["metadata"]["name"])
    acting.restart()
    acting.look()
    assert acting.runs == []
    assert acting.condition("WorkspaceSucceeded")[1] == "NoRun"


def test_a_server_that_fails_is_asked_again(acting: Acting, cluster: Cluster) -> None:
    acting.apply()
    cluster.faults.append(Fault(method="POST", path="/workflows", status=503))
    with pytest.raises((ApiError, CliError)):
        acting.look()
    acting.look()
    assert len(acting.runs) == 1


def test_a_state_of_before_does_not_replace_a_newer_one(acting: Acting) -> None:
    first = acting.apply()
    acting.look()
    newest = acting.seen.workspaces[KEY]
    acting.seen.put_workspace(first)
    assert acting.seen.workspaces[KEY] is newest


def test_the_status_follows_the_run(acting: Acting) -> None:
    acting.apply()
    acting.look()
    (run,) = acting.runs
    nodes = [*step("plan", "Succeeded"), node("tune", "Running", progress="120/400")]
    acting.play(run["metadata"]["name"], nodes={each["id"]: each for each in nodes})
    acting.look(whole=False)
    assert acting.own["steps"] == [
        {"name": "plan", "phase": "Succeeded"},
        {"name": "tune", "phase": "Running"},
    ]
    assert acting.own["progress"] == "120/400"
    assert acting.condition("JobStarted")[0] == "True"
    assert acting.condition("WorkspaceSucceeded")[:2] == ("False", "Running")
    acting.play(run["metadata"]["name"], phase="Failed", message="child 'x' failed")
    acting.look(whole=False)
    assert acting.condition("WorkspaceSucceeded") == (
        "False",
        "Failed",
        f"run {run['metadata']['name']}: Failed: child 'x' failed",
    )
    assert "progress" not in acting.own


def test_a_workspace_that_serves_without_training_runs_the_template_of_services(
    acting: Acting, cluster: Cluster
) -> None:
    served = manifests.template(name="serve")
    cluster.put({**served, "metadata": {**served["metadata"], "namespace": NAMESPACE}})
    inference = {"preset": {"name": "phi-4"}}
    acting.apply({"tuning": None, "inference": inference})
    acting.look()
    (run,) = acting.runs
    assert run["spec"]["workflowTemplateRef"] == {"name": "serve"}
    acting.annotate(schedule="@daily")
    acting.look()
    assert "argotune.dev/schedule: is about training" in acting.condition("Planned")[2]
    assert len(acting.runs) == 1


def test_what_a_run_came_to_stays_said_when_it_is_gone(acting: Acting, cluster: Cluster) -> None:
    acting.apply()
    acting.look()
    (run,) = acting.runs
    name = run["metadata"]["name"]
    # As the template has it of a run with deploy-to: none.
    annotations = {**run["metadata"]["annotations"], "argotune.dev/deploy-to": "none"}
    cluster.put({**run, "metadata": {**run["metadata"], "annotations": annotations}})
    acting.play(name, phase="Succeeded")
    acting.look()
    before = acting.workspace["status"]
    assert acting.condition("WorkspaceSucceeded")[0] == "True"
    cluster.take("Workflow", NAMESPACE, name)
    acting.restart()
    acting.look()
    assert acting.own == before["argotune"]
    assert acting.condition("WorkspaceSucceeded")[0] == "True"
    assert acting.condition("InferenceReady") == ("False", "NoRun", "no run of it is there")


def test_a_look_that_finds_nothing_new_writes_no_status(acting: Acting, cluster: Cluster) -> None:
    acting.apply()
    acting.look()
    acting.look()
    del cluster.requests[:]
    for whole in (False, True, False):
        acting.look(whole=whole)
    assert [each for each in cluster.requests if "status" in each] == []


def test_a_workspace_that_is_too_large_is_refused_until_it_is_smaller(acting: Acting) -> None:
    there = acting.apply()
    acting.cluster.put({**there, "tuning": {**there["tuning"], "x": "a" * (1 << 20)}})
    acting.look()
    assert acting.runs == []
    assert acting.condition("Planned") == (
        "False",
        "Refused",
        "the Workspace is over 256 KiB, and is not read; accepted is less",
    )
    acting.apply()
    acting.look()
    assert len(acting.runs) == 1


def test_what_is_refused_again_and_again_is_looked_at_less_often(acting: Acting) -> None:
    acting.apply({"tuning/method": "none"})
    assert [acting.look() for _ in range(6)] == [30, 60, 120, 240, 480, 600]
    acting.apply()
    acting.look()
    acting.apply({"tuning/method": "none"})
    assert acting.look() == 30
