"""argotune schedule, schedules, pause, resume, trigger, unschedule, on a fake API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argotune.workflows.workspace.planned import load
from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.cluster_workflows import run_of
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.workspace.helpers import CONFIG_MAP, QUICK_START, WORKSPACE, changed

WITH_TOKEN = changed({"tuning/input": {"urls": ["https://example.com/a.parquet?sig=hunter2"]}})
NAME = "retrain-my-model"


@pytest.fixture
def made(argotune: Argotune, write: Write, cluster: Cluster) -> Cluster:
    """A cluster where my-model is tuned every Monday."""
    assert schedule(argotune, write, WORKSPACE, "0 3 * * 1").code == 0
    return cluster


def schedule(argotune: Argotune, write: Write, text: str, *times: str) -> Answer:
    flags = [flag for time in times for flag in ("--cron", time)]
    return argotune("schedule", write("workspace.yaml", text), *flags)


def only(cluster: Cluster, kind: str) -> dict[str, Any]:
    (found,) = cluster.of_kind(kind)
    return found


def put_run(cluster: Cluster, name: str, *, ended: bool) -> None:
    labels = {"workflows.argoproj.io/cron-workflow": NAME}
    if ended:
        labels["workflows.argoproj.io/completed"] = "true"
    metadata = {"name": name, "namespace": "team-a", "labels": labels}
    cluster.put(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {**metadata, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {},
        }
    )


def test_a_schedule_is_made_with_its_times_and_zone(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    file = write("workspace.yaml", WORKSPACE)
    times = ("--cron", "0 3 * * 1", "--cron", "30 12 1 * *")
    answer = argotune("schedule", file, *times, "--timezone", "Europe/Berlin")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == f"cronworkflow.argoproj.io/{NAME} created in namespace team-a"
    assert lines[1].startswith(
        f"{NAME}, 0 3 * * 1 and 30 12 1 * * Europe/Berlin: no run yet, next 20"
    )
    spec = only(cluster, "CronWorkflow")["spec"]
    assert spec["schedules"] == ["0 3 * * 1", "30 12 1 * *"]
    assert spec["timezone"] == "Europe/Berlin"
    assert "suspend" not in spec
    parameters = spec["workflowSpec"]["arguments"]["parameters"]
    assert {"name": "only-if-changed", "value": "true"} in parameters
    (claim,) = spec["workflowSpec"]["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]
    planned = load([("workspace.yaml", WORKSPACE)], overrides={}, allow_loopback=False)
    assert size == planned.volume_size


def test_urls_with_tokens_are_in_a_secret_of_the_schedule(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    assert schedule(argotune, write, WITH_TOKEN, "@daily").code == 0
    secret, cron = only(cluster, "Secret"), only(cluster, "CronWorkflow")
    assert "hunter2" in secret["stringData"]["urls.json"]
    assert "hunter2" not in str(cron)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("CronWorkflow", cron["metadata"]["uid"])
    named = {"name": "urls-secret", "value": secret["metadata"]["name"]}
    assert named in cron["spec"]["workflowSpec"]["arguments"]["parameters"]
    assert "suspend" not in cron["spec"]


def test_a_refused_secret_leaves_no_schedule(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.faults.append(Fault("POST", "/secrets", 403, "you may not"))
    answer = schedule(argotune, write, WITH_TOKEN, "@daily")
    assert answer.code == 3
    assert "you may not" in answer.err
    assert cluster.of_kind("CronWorkflow") == []


def test_a_second_time_changes_it_and_leaves_it_paused(
    argotune: Argotune, write: Write, made: Cluster
) -> None:
    assert argotune("pause", "my-model").code == 0
    answer = schedule(argotune, write, WITH_TOKEN, "@hourly")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        f"cronworkflow.argoproj.io/{NAME} configured in namespace team-a",
        f"{NAME}, @hourly Etc/UTC: no run yet; paused",
    ]
    spec = only(made, "CronWorkflow")["spec"]
    assert (spec["schedules"], spec["suspend"]) == (["@hourly"], True)
    secret = only(made, "Secret")["metadata"]["name"]
    assert {"name": "urls-secret", "value": secret} in (
        spec["workflowSpec"]["arguments"]["parameters"]
    )


def test_what_is_given_no_more_goes(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    file = write("workspace.yaml", WORKSPACE)
    for flags in (["--storage-class", "gone"], []):
        assert argotune("schedule", file, "--cron", "@daily", *flags).code == 0
    (claim,) = only(cluster, "CronWorkflow")["spec"]["workflowSpec"]["volumeClaimTemplates"]
    assert "storageClassName" not in claim["spec"]
    assert argotune("schedule", file, "--cron", "@daily", "--volume-size", "9Gi").code == 0
    (claim,) = only(cluster, "CronWorkflow")["spec"]["workflowSpec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "9Gi"


def test_only_secrets_stay_that_the_schedule_or_a_run_that_goes_on_names(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    def change(token: str) -> str:
        text = WITH_TOKEN.replace("hunter2", token)
        assert schedule(argotune, write, text, "@daily").code == 0
        return urls_secret(only(cluster, "CronWorkflow")["spec"]["workflowSpec"])

    def secrets() -> set[str]:
        return {each["metadata"]["name"] for each in cluster.of_kind("Secret")}

    first = change("one")
    assert argotune("trigger", "my-model").code == 0
    second = change("two")
    third = change("three")
    assert (second in secrets(), secrets()) == (False, {first, third})
    run = only(cluster, "Workflow")
    run["metadata"]["labels"]["workflows.argoproj.io/completed"] = "true"
    cluster.put(run)
    assert schedule(argotune, write, WORKSPACE, "@daily").code == 0
    assert secrets() == set()
    assert "former" not in str(only(cluster, "CronWorkflow")["metadata"]["annotations"])


def test_a_secret_that_may_not_be_deleted_is_told_and_tried_again(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    """An installation of before has no such right."""
    assert schedule(argotune, write, WITH_TOKEN, "@daily").code == 0
    name = only(cluster, "Secret")["metadata"]["name"]
    cluster.faults.append(Fault("DELETE", "/secrets", 403, message="you may not"))
    answer = schedule(argotune, write, WORKSPACE, "@daily")
    assert answer.code == 0
    assert answer.err.startswith(f"warning: Secret {name}: the cluster answers 403: you may not")
    assert answer.err.endswith("; it goes with the schedule\n")
    cluster.faults.clear()
    assert schedule(argotune, write, WORKSPACE, "@hourly").code == 0
    assert cluster.of_kind("Secret") == []


def urls_secret(spec: dict[str, Any]) -> str:
    parameters = spec["arguments"]["parameters"]
    return next(str(each["value"]) for each in parameters if each["name"] == "urls-secret")


def test_a_setting_is_removed_with_all_that_it_held(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = WORKSPACE.replace(
        "argotune.dev/provider: existing",
        'argotune.dev/provider: existing, argotune.dev/ttl-seconds-after-failure: "60"',
    )
    assert schedule(argotune, write, text, "@daily").code == 0
    assert "ttlStrategy" in only(cluster, "CronWorkflow")["spec"]["workflowSpec"]
    assert schedule(argotune, write, WORKSPACE, "@daily").code == 0
    assert "ttlStrategy" not in only(cluster, "CronWorkflow")["spec"]["workflowSpec"]


def test_all_that_is_wrong_with_times_is_said_before_anything_is_made(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    file = write("workspace.yaml", WORKSPACE)
    answer = argotune("schedule", file, "--cron", "0 3 30 2 *", "--timezone", "Mars/Olympus")
    assert answer.code == 2
    assert answer.errors == [
        "schedule '0 3 30 2 *': no month has that day, so it never runs",
        "--timezone 'Mars/Olympus': no time zone of this name; accepted are names such as Etc/UTC"
        " and Europe/Berlin",
    ]
    assert cluster.of_kind("CronWorkflow") == []


def test_what_the_plan_refuses_is_not_scheduled(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = f"{QUICK_START}---\n{CONFIG_MAP}".replace("qlora", "full")
    answer = schedule(argotune, write, text, "@daily")
    assert answer.code == 2
    assert cluster.of_kind("CronWorkflow") == []


def test_schedules_are_listed(argotune: Argotune, made: Cluster) -> None:
    answer = argotune("schedules", "-n", "team-a")
    assert answer.code == 0
    assert f"{NAME}  0 3 * * 1  Etc/UTC" in answer.out
    answer = argotune("schedules", "-n", "team-b")
    assert answer.out == (
        "no schedules in namespace team-b; `argotune schedule workspace.yaml"
        ' --cron "0 3 * * 1" -n team-b` makes one\n'
    )


def test_status_of_a_schedules_name_shows_it_with_its_runs(
    argotune: Argotune, made: Cluster
) -> None:
    answer = argotune("status", NAME, "-n", "team-a")
    assert (answer.code, answer.err) == (0, "")
    said = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert said[0] == "SCHEDULE TIMES TIMEZONE LAST NEXT"
    assert said[1].startswith(f"{NAME} 0 3 * * 1 Etc/UTC in ")
    assert said[2:] == [
        "",
        "it has begun no run that is still there",
        f"begin one now: argotune trigger {NAME} -n team-a",
    ]
    put_run(made, "run-1", ended=True)
    said = argotune("status", NAME, "-n", "team-a").out.splitlines()
    assert said[3].split() == ["RUN", "PHASE", "AGE"]
    assert said[4].split()[:2] == ["run-1", "Pending"]
    record = argotune("status", NAME, "-n", "team-a", "-o", "json").out
    assert json.loads(record)["kind"] == "CronWorkflow"


def test_a_schedules_name_is_watched_as_its_newest_run(argotune: Argotune, made: Cluster) -> None:
    answer = argotune("status", NAME, "-n", "team-a", "--watch")
    assert answer.errors[0].startswith(f"'{NAME}': no run or workspace of this name")
    run = run_of(phase="Succeeded", name="run-2")
    run["metadata"]["labels"] = {"workflows.argoproj.io/cron-workflow": NAME}
    made.put(run)
    answer = argotune("status", NAME, "-n", "team-a", "--watch")
    assert (answer.code, "run-2: Succeeded" in answer.out) == (0, True)


def test_status_of_another_name_is_refused_where_schedules_cannot_be_seen(
    argotune: Argotune, made: Cluster
) -> None:
    made.faults.append(Fault("GET", "/cronworkflows", 403, "you may not", times=9))
    answer = argotune("status", NAME, "-n", "team-a")
    assert answer.code == 2
    assert answer.errors[0].startswith(f"'{NAME}': no run or workspace of this name")


@pytest.mark.parametrize("name", ["my-model", NAME])
def test_a_schedule_is_paused_and_resumed_by_either_name(
    argotune: Argotune, made: Cluster, name: str
) -> None:
    answer = argotune("pause", name)
    assert answer.out.splitlines() == [
        f"cronworkflow.argoproj.io/{NAME} paused in namespace team-a",
        f"{NAME}, 0 3 * * 1 Etc/UTC: no run yet; paused",
    ]
    assert only(made, "CronWorkflow")["spec"]["suspend"] is True
    answer = argotune("resume", name)
    assert answer.out.startswith(f"cronworkflow.argoproj.io/{NAME} resumed in namespace team-a\n")
    assert ", next 20" in answer.out
    assert only(made, "CronWorkflow")["spec"]["suspend"] is False


def test_a_triggered_run_is_one_of_the_schedule(argotune: Argotune, made: Cluster) -> None:
    answer = argotune("trigger", "my-model")
    assert (answer.code, answer.err) == (0, "")
    cron, run = only(made, "CronWorkflow"), only(made, "Workflow")
    name = run["metadata"]["name"]
    assert name.startswith(f"{NAME}-")
    assert answer.out.splitlines() == [
        f"workflow.argoproj.io/{name} created in namespace team-a",
        f"watch it: argotune status {name} -n team-a --watch",
    ]
    assert run["spec"] == cron["spec"]["workflowSpec"]
    assert run["metadata"]["labels"]["workflows.argoproj.io/cron-workflow"] == NAME
    (owner,) = run["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (
        "CronWorkflow",
        cron["metadata"]["uid"],
        True,
    )


def test_a_triggered_run_is_the_last_one(argotune: Argotune, made: Cluster) -> None:
    put_run(made, "run-1", ended=True)
    assert "no run yet" not in argotune("pause", "my-model").out
    assert "2026-01-02 03:04" in argotune("pause", "my-model").out


def test_nothing_is_triggered_where_argotune_was_uninstalled(
    argotune: Argotune, made: Cluster
) -> None:
    made.take("WorkflowTemplate", "team-a", "finetune")
    answer = argotune("trigger", "my-model")
    assert answer.code == 3
    assert answer.errors == [
        f"{NAME}: WorkflowTemplate finetune is not in namespace team-a; argotune install -n team-a"
        " puts it there"
    ]
    assert made.of_kind("Workflow") == []


@pytest.mark.parametrize("command", ["trigger", "unschedule"])
def test_while_a_run_of_it_goes_on_it_is_refused(
    argotune: Argotune, made: Cluster, command: str
) -> None:
    put_run(made, "run-1", ended=True)
    put_run(made, "run-2", ended=False)
    answer = argotune(command, "my-model")
    assert answer.code == 3
    assert answer.errors[0].startswith(f"{NAME}: its run run-2 goes on")
    assert len(made.of_kind("CronWorkflow")) == 1
    assert len(made.of_kind("Workflow")) == 2


def test_a_deleted_schedule_says_what_goes_with_it(argotune: Argotune, made: Cluster) -> None:
    put_run(made, "run-1", ended=True)
    answer = argotune("unschedule", "my-model")
    assert answer.out.splitlines() == [
        f"cronworkflow.argoproj.io/{NAME} deleted in namespace team-a",
        "the records of its ended runs are deleted with it: 1",
    ]
    assert made.of_kind("CronWorkflow") == []


def test_an_unknown_name_is_answered_with_the_known_ones(argotune: Argotune, made: Cluster) -> None:
    answer = argotune("pause", "other")
    assert answer.code == 2
    assert answer.errors == [
        f"'other': no schedule or workspace with one in namespace team-a; there are {NAME}"
    ]
    made.take("CronWorkflow", "team-a", NAME)
    answer = argotune("unschedule", "other")
    assert answer.errors == [
        "'other': no schedule or workspace with one in namespace team-a; there is none"
    ]


def test_a_workspace_that_was_applied_is_suspended_by_the_operator(
    argotune: Argotune, cluster: Cluster
) -> None:
    metadata = {"name": "phi", "namespace": "team-a", "finalizers": ["argotune.dev/operator"]}
    cluster.put({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": metadata})

    def annotations() -> dict[str, str]:
        found = cluster.objects["Workspace", "team-a", "phi"]["metadata"]
        return dict(found["annotations"])

    paused = argotune("pause", "phi", "-n", "team-a")
    assert (paused.code, paused.err) == (0, "")
    assert paused.out.startswith("workspace.kaito.sh/phi suspended in namespace team-a\n")
    assert annotations() == {"argotune.dev/suspend": "true"}
    resumed = argotune("resume", "phi", "-n", "team-a")
    assert resumed.out == "workspace.kaito.sh/phi resumed in namespace team-a\n"
    assert annotations() == {}
