"""argotune status of a cluster."""

from __future__ import annotations

import base64
import gzip
import json
import signal
from datetime import UTC, datetime

import pytest
import yaml

from argotune.steps.contracts.service_note import NOTE, Note
from argotune.steps.nodes.made_node import NODE_ANNOTATION, MadeNode, row_of_node
from tests.fakes.kube import Cluster, Fault, Object
from tests.workflows.cli.cluster_workflows import (
    NAME,
    cron_of,
    entry,
    exit_handler,
    failed_run,
    large_run,
    run_of,
    service_of,
    step,
    with_node,
)
from tests.workflows.cli.command import Argotune, Processes, finish
from tests.workflows.cli.commands.test_status import COLUMNS, rows
from tests.workflows.cli.status import END

HERE = ("status", "-n", "team-a")
PROVISION = step("provision", "Succeeded", outputs={"accelerator": "NVIDIA A10"})
ENDPOINT = "http://my-model.team-a.svc"
SERVICE = [
    f"service: {ENDPOINT}, 1 of 1 ready",
    'ask it: argotune chat my-model "A question" -n team-a',
    "from this machine: kubectl port-forward service/my-model 8080:80 -n team-a",
]


def table(argotune: Argotune) -> list[list[str]]:
    """The rows without their ages, and without the phases beside them."""
    answer = argotune(*HERE)
    assert (answer.code, answer.err) == (0, "")
    head, *found = rows(answer.out)
    assert [*head[:-1], head[-1].split()[0]] == COLUMNS
    return [row[:-1] for row in found]


def test_before_the_first_run(argotune: Argotune, cluster: Cluster) -> None:
    answer = argotune(*HERE)
    assert (answer.code, answer.out) == (
        0,
        "no runs in namespace team-a; `argotune submit workspace.yaml -n team-a` starts one\n",
    )


def test_a_workspace_gets_ready_step_by_step(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("plan", "Running")))
    assert table(argotune) == [["my-model", "", "False", "False", "False"]]
    cluster.put(with_node(run_of(*PROVISION, *step("tune", "Running")), "NVIDIA A10"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "False"]]
    cluster.put(service_of("my-model"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "True", "False"]]
    cluster.put(with_node(run_of(*PROVISION, phase="Succeeded"), "NVIDIA A10"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "True", "True"]]


def test_a_run_that_only_pushes_makes_its_workspace_ready_without_a_service(
    argotune: Argotune, cluster: Cluster
) -> None:
    run = with_node(run_of(*PROVISION, phase="Succeeded"), "NVIDIA A10")
    run["metadata"]["annotations"]["argotune.dev/deploy-to"] = "none"
    cluster.put(run)
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "True"]]
    note = f"; run {NAME} only pushes its adapter, because argotune.dev/deploy-to is none"
    for command in (("chat", "my-model", "Who?"), ("rollback", "my-model"), ("start", "my-model")):
        answer = argotune(*command, "-n", "team-a")
        assert (answer.code, answer.err.endswith(f"{note}\n")) == (2, True)


def test_a_service_without_a_server_that_answers(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(with_node(run_of(*PROVISION, phase="Succeeded"), "NVIDIA A10"))
    cluster.put(service_of("my-model", ready=0))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "False"]]


def test_a_run_whose_data_did_not_change_leaves_the_workspace_ready(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("dataset", "Succeeded"), phase="Succeeded"))
    cluster.put(service_of("my-model", **{"node.kubernetes.io/instance-type": "Standard_NC"}))
    assert table(argotune) == [["my-model", "Standard_NC", "True", "True", "True"]]


def test_a_service_outlives_its_run(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(service_of("old"))
    assert table(argotune) == [["old", "", "True", "True", "True"]]
    answer = argotune(*HERE, "old")
    assert answer.code == 0
    assert answer.out.splitlines() == [line.replace("my-model", "old") for line in SERVICE]


def test_a_service_says_that_its_gpu_has_a_run(argotune: Argotune, cluster: Cluster) -> None:
    for replicas, how in ((0, "it is down"), (1, "it answers on a CPU")):
        service = service_of("my-model", ready=replicas)
        service["spec"]["replicas"] = replicas
        note = Note(template={}, replicas=1, run="uid")
        service["metadata"]["annotations"] = {NOTE: note.text()}
        cluster.put(service)
        assert argotune(*HERE, "my-model").out.splitlines()[1] == (
            f"  its GPU has a run of the workspace, and {how} until that has ended"
        )


def test_a_service_whose_node_broke_says_so_and_what_to_do(
    argotune: Argotune, cluster: Cluster
) -> None:
    node = MadeNode(
        placement="Standard_NC24ads_A100_v4 regular",
        price_usd_per_hour=3.67,
        since=datetime(2026, 1, 1, tzinfo=UTC),
    )
    service = service_of("my-model", ready=0)
    service["metadata"]["annotations"] = {NODE_ANNOTATION: json.dumps(row_of_node(node))}
    cluster.put(service)
    message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    cluster.pods = [
        {
            "metadata": {
                "name": f"my-model-{number}",
                "namespace": "team-a",
                "labels": {"argotune.dev/service": "my-model"},
            },
            "status": {
                "conditions": [{"type": "PodScheduled", "status": "False", "message": message}]
            },
        }
        for number in range(2)
    ]
    wanted = [
        f"  a server waits for a node: {message}",
        "  its own node, Standard_NC24ads_A100_v4 regular, is gone or takes no pod, and nothing"
        " replaces it: the file submitted again makes another, and this one goes",
    ]
    assert argotune(*HERE, "my-model").out.splitlines()[1:3] == wanted
    cluster.faults = [Fault("GET", "/pods", 403, times=9)]
    assert argotune(*HERE, "my-model").out.splitlines()[1].startswith("ask it: ")


def test_the_newest_run_of_a_workspace_counts(argotune: Argotune, cluster: Cluster) -> None:
    newer = with_node(run_of(*PROVISION, name="my-model-fghij"), "NVIDIA A10")
    newer["metadata"]["creationTimestamp"] = END
    cluster.put(newer)
    cluster.put(run_of(*step("plan", "Failed"), phase="Failed"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "False"]]
    assert argotune(*HERE, "my-model").out.startswith("my-model-fghij: Running\n")


def scheduled(run: Object, created: str) -> Object:
    metadata = run["metadata"]
    labels = {**metadata["labels"], "workflows.argoproj.io/cron-workflow": "retrain-my-model"}
    return {**run, "metadata": {**metadata, "labels": labels, "creationTimestamp": created}}


@pytest.mark.parametrize("phase", ["Running", "Failed", "Succeeded"])
def test_a_scheduled_run_that_changed_nothing_hides_no_other(
    argotune: Argotune, cluster: Cluster, phase: str
) -> None:
    cluster.put(with_node(run_of(*step("tune", phase), phase=phase), "NVIDIA A10"))
    for number, created in enumerate((END, "2026-01-01T00:00:09Z")):
        nothing = run_of(
            *step("plan", "Succeeded"), phase="Succeeded", name=f"my-model-no-{number}"
        )
        nothing["metadata"]["labels"]["argotune.dev/workspace"] = "my-model"
        cluster.put(scheduled(nothing, created))
    assert argotune(*HERE, "my-model").out.startswith(f"{NAME}: {phase}\n")
    assert table(argotune)[0][1] == "NVIDIA A10"


def test_a_scheduled_run_that_tunes_is_the_workspaces(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("tune", "Failed"), phase="Failed"))
    newer = with_node(run_of(*PROVISION, name="my-model-fghij"), "NVIDIA A10")
    cluster.put(scheduled(newer, END))
    assert argotune(*HERE, "my-model").out.startswith("my-model-fghij: Running\n")


def test_a_scheduled_run_is_shown_where_no_other_is(argotune: Argotune, cluster: Cluster) -> None:
    nothing = run_of(*step("plan", "Succeeded"), phase="Succeeded")
    cluster.put(scheduled(nothing, END))
    assert argotune(*HERE, "my-model").out.startswith(f"{NAME}: Succeeded\n")


def test_a_rollback_leaves_the_instance_of_the_tuning(argotune: Argotune, cluster: Cluster) -> None:
    tuned = run_of(*step("tune", "Succeeded"), phase="Succeeded")
    cluster.put(with_node(tuned, "NVIDIA A10"))
    back = run_of(*step("deploy", "Succeeded"), phase="Succeeded", name="my-model-back")
    back["metadata"]["labels"]["workflows.argoproj.io/workflow-template"] = "rollback"
    back["metadata"]["creationTimestamp"] = END
    cluster.put(back)
    assert table(argotune)[0][1] == "NVIDIA A10"


def test_the_phase_stands_in_the_table_where_a_run_failed(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    assert "PHASE" not in argotune(*HERE).out
    cluster.put(run_of(*step("tune", "Failed"), phase="Failed", name="other-abcde"))
    head, *lines = argotune(*HERE).out.splitlines()
    assert head.split()[-1] == "PHASE"
    assert sorted(line.split()[-1] for line in lines) == ["Failed", "Running"]


def test_a_run_that_goes_on_after_a_stop_is_not_called_stopped(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("tune", "Running"), message="Stopped with strategy 'Stop'"))
    out = argotune(*HERE, NAME).out
    assert out.startswith(f"{NAME}: Running\n")
    assert "Stopped" not in out


def test_schedules_stand_below_the_workspaces(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(cron_of(lastScheduledTime=END))
    cluster.put(cron_of("other"))
    cluster.objects["CronWorkflow", "team-a", "retrain-other"]["spec"]["suspend"] = True
    lines = argotune(*HERE).out.splitlines()
    assert lines[0].startswith("no runs in namespace team-a; ")
    assert lines[2].split() == ["SCHEDULE", "TIMES", "TIMEZONE", "LAST", "NEXT"]
    name, *times, zone, last, word, following = lines[3].split()
    assert (name, times, zone, word) == (
        "retrain-my-model",
        ["0", "3", "*", "*", "*"],
        "Etc/UTC",
        "in",
    )
    assert last[-1] in "smhd"
    assert following[-1] in "smh"
    assert lines[4].endswith("never: paused")


def test_a_schedule_is_shown_with_its_workspace(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(cron_of())
    cluster.put(cron_of("other"))
    (line,) = argotune(*HERE, "my-model").out.splitlines()
    assert line.startswith("schedule: retrain-my-model, 0 3 * * * Etc/UTC: no run yet, next 2")
    cluster.put(run_of())
    assert line in argotune(*HERE, NAME).out.splitlines()


def test_without_the_right_to_list_schedules_the_runs_are_shown(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of())
    cluster.faults = [Fault("GET", "/cronworkflows", 403, "cronworkflows is forbidden", times=9)]
    answer = argotune(*HERE)
    assert (answer.code, answer.err) == (0, "")
    assert "schedules are not seen: CronWorkflows: the cluster answers 403" in answer.out


def test_foreign_workflows_are_no_workspaces(argotune: Argotune, cluster: Cluster) -> None:
    foreign = run_of(*step("main", "Succeeded"), phase="Succeeded", name="foreign-abcde")
    foreign["metadata"]["labels"] = {}
    cluster.put(foreign)
    assert argotune(*HERE).out.startswith("no runs in namespace team-a; ")
    assert argotune(*HERE, "foreign-abcde").out.startswith("foreign-abcde: Succeeded\n")


def test_one_run_whole(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(service_of("my-model"))
    cluster.put(
        run_of(
            entry(endpoint=ENDPOINT, answer=""),
            *step("plan", "Succeeded", outputs={"gpus": "1", "log": "", "warnings": ""}),
            *step("deploy", "Succeeded", outputs={"endpoint": ENDPOINT}),
            *exit_handler("Succeeded", released="nothing"),
            phase="Succeeded",
        )
    )
    answer = argotune(*HERE, "my-model")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == f"{NAME}: Succeeded"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["✔", "plan"],
        ["✔", "deploy"],
        ["✔", "release"],
    ]
    assert [line.split() for line in lines[4:6]] == [
        ["plan", "gpus", "1"],
        ["release", "released", "nothing"],
    ]
    assert lines[6:] == [
        f"endpoint: {ENDPOINT}",
        *SERVICE,
        f"in Argo's UI: /workflows/team-a/{NAME}",
    ]


def test_a_run_says_what_keeps_it_waiting_above_its_steps(
    argotune: Argotune, cluster: Cluster
) -> None:
    run = run_of(*step("plan", "Running"))
    run["spec"]["suspend"] = True
    cluster.put(run)
    lines = argotune(*HERE, NAME).out.splitlines()
    assert lines[:2] == [
        f"{NAME}: Running",
        f"  suspended; `argo resume {NAME} -n team-a` lets it go on",
    ]


def test_a_failed_step_shows_the_end_of_its_log(argotune: Argotune, cluster: Cluster) -> None:
    log = "loading the model\nRuntimeError: out of memory"
    cluster.put(
        run_of(
            *step("plan", "Succeeded"),
            *step("tune", "Failed", message="error: killed", outputs={"log": log}),
            phase="Failed",
            message="child 'tune' failed",
        )
    )
    lines = argotune(*HERE, NAME).out.splitlines()
    assert lines[0] == f"{NAME}: Failed: child 'tune' failed"
    assert lines[2].split() == ["✖", "tune", "failed", "7s", "error:", "killed"]
    assert lines[3:] == [
        "the end of the log of tune(0):",
        "  loading the model",
        "  RuntimeError: out of memory",
        f"logs: argotune logs {NAME} -n team-a",
        f"go on with it: argo retry {NAME} -n team-a (with the right to delete pods)",
        f"in Argo's UI: /workflows/team-a/{NAME}",
    ]


def test_nodes_that_argo_packed_are_unpacked(argotune: Argotune, cluster: Cluster) -> None:
    run = run_of(*PROVISION)
    nodes = run["status"].pop("nodes")
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    run["status"]["compressedNodes"] = packed
    cluster.put(run)
    assert argotune(*HERE, NAME).out.splitlines()[1].split()[:2] == ["✔", "provision"]
    assert json.loads(argotune(*HERE, NAME, "-o", "json").out)["status"]["nodes"] == nodes


def test_nodes_in_argos_database_are_said_to_be_there(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(offloadNodeStatusVersion="fnv:1"))
    assert argotune(*HERE, NAME).out.splitlines()[1] == (
        f"the steps of {NAME} are in Argo's own database, and only the Argo server shows them:"
        f" argo get {NAME} -n team-a"
    )


def test_output_is_the_workflow_object(argotune: Argotune, cluster: Cluster) -> None:
    stored = cluster.put(run_of(*PROVISION))
    assert json.loads(argotune(*HERE, NAME, "-o", "json").out) == stored
    assert yaml.safe_load(argotune(*HERE, "-o", "yaml").out) == [stored]


def test_an_unknown_name(argotune: Argotune, cluster: Cluster) -> None:
    answer = argotune(*HERE, "nope")
    assert answer.code == 2
    assert answer.errors == [
        "'nope': no run or workspace of this name in namespace team-a; there is none"
    ]
    cluster.put(run_of())
    assert argotune(*HERE, "nope").errors == [
        "'nope': no run or workspace of this name in namespace team-a; there are my-model"
    ]


@pytest.mark.parametrize(
    ("flags", "namespace"),
    [
        (("--cluster",), "team-a"),
        (("--context", "second"), "team-b"),
        (("--context", "second", "-n", "other"), "other"),
    ],
)
def test_the_flags_choose_cluster_and_namespace(
    argotune: Argotune, cluster: Cluster, flags: tuple[str, ...], namespace: str
) -> None:
    assert argotune("status", *flags).out.startswith(f"no runs in namespace {namespace}; ")


def test_a_right_that_is_missing_is_named(argotune: Argotune, cluster: Cluster) -> None:
    message = 'User "me" cannot list resource "workflows"'
    cluster.faults.append(Fault("GET", "/workflows", 403, message=message))
    answer = argotune(*HERE)
    assert answer.code == 3
    assert answer.errors == [
        f"Workflows: the cluster answers 403: {message}; ask for that right; the Role argotune-user"
        " of `argotune install` has what is needed"
    ]


def test_a_watch_has_no_record(argotune: Argotune) -> None:
    answer = argotune("status", "--watch", "-o", "json")
    assert (answer.code, answer.errors) == (2, ["--watch and --output: take one"])


def test_a_table_of_many_runs_reads_their_metadata_alone_and_in_pages(
    argotune: Argotune, cluster: Cluster
) -> None:
    names = [f"model{number}-abcde" for number in range(501)]
    for name in names:
        cluster.put(large_run(name, size_bytes=20_000))
    assert len(table(argotune)) == len(names)
    lists = [request for request in cluster.requests if "/workflows?" in request]
    assert [("continue=500" in request, "limit=500" in request) for request in lists] == [
        (False, True),
        (True, True),
    ]
    assert cluster.sent_bytes < 2_000 * len(names)


def test_what_runs_spent_is_in_their_metadata(argotune: Argotune, cluster: Cluster) -> None:
    for number in range(5):
        cluster.put(large_run(f"model{number}-abcde"))
    assert argotune(*HERE, "--by", "argotune.dev/workspace").out.count("0.00 USD") == 5
    assert cluster.sent_bytes < 20_000


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("status", "my-model"), 0),
        (("logs", "my-model"), 0),
        (("report", "my-model"), 3),  # it has pushed none
        (("stop", "--all"), 0),
        (("gc",), 0),
    ],
)
def test_no_command_reads_more_than_one_run_whole(
    argotune: Argotune, cluster: Cluster, command: tuple[str, ...], code: int
) -> None:
    cluster.put(large_run(NAME))
    for number in range(20):
        cluster.put(large_run(f"other{number}-abcde"))
    assert argotune(*command, "-n", "team-a").code == code
    assert cluster.sent_bytes < 400_000


def test_the_record_of_all_workspaces_reads_the_newest_runs_whole(
    argotune: Argotune, cluster: Cluster
) -> None:
    old = large_run(NAME)
    newer = large_run("my-model-fghij", size_bytes=50_000)
    newer["metadata"]["creationTimestamp"] = END
    cluster.put(old)
    stored = cluster.put(newer)
    assert json.loads(argotune(*HERE, "-o", "json").out) == [stored]
    assert cluster.sent_bytes < 60_000


def test_a_watched_table_is_one_list_and_one_watch(start: Processes, cluster: Cluster) -> None:
    cluster.put(run_of())
    watching = start(*HERE, "--watch")
    assert watching.stdout is not None
    assert [watching.stdout.readline().split()[:3] for _ in range(2)][1] == [
        "my-model",
        "False",
        "False",
    ]
    cluster.put(with_node(run_of(), "A10"))
    assert [watching.stdout.readline().split()[:3] for _ in range(2)][1] == [
        "my-model",
        "A10",
        "True",
    ]
    cluster.take("Workflow", "team-a", NAME)
    assert watching.stdout.readline().split()[:1] == ["NAME"]
    watching.send_signal(signal.SIGINT)
    assert finish(watching).code == 130
    lists = [
        request.partition("?")[0].rpartition("/")[2]
        for request in cluster.requests
        if "watch=true" not in request
    ]
    assert sorted(lists) == ["deployments", "workflows"]


def test_a_watched_table_goes_on_after_a_lost_connection(
    start: Processes, cluster: Cluster
) -> None:
    cluster.watches = ["expired", "reset"]
    cluster.put(run_of())
    watching = start(*HERE, "--watch")
    assert watching.stdout is not None
    assert watching.stdout.readline().split()[:1] == ["NAME"]
    assert watching.stdout.readline().split()[:1] == ["my-model"]
    cluster.put(with_node(run_of(), "A10"))
    assert watching.stdout.readline().split()[:1] == ["NAME"]
    assert watching.stdout.readline().split()[:2] == ["my-model", "A10"]
    watching.send_signal(signal.SIGINT)
    assert finish(watching).code == 130


def test_a_watched_table_says_which_right_is_missing(argotune: Argotune, cluster: Cluster) -> None:
    cluster.faults.append(Fault("GET", "/workflows", 403, message="no right"))
    answer = argotune(*HERE, "--watch")
    assert (answer.code, answer.out) == (3, "")
    assert answer.errors[0].startswith("Workflows: the cluster answers 403: no right; ")


@pytest.mark.parametrize(
    ("strategy", "until"),
    [({}, "2026-01-08 00:00"), ({"secondsAfterFailure": 3600}, "2026-01-01 01:00")],
)
def test_a_failed_run_shows_its_volume_and_until_when_it_is_kept(
    argotune: Argotune, cluster: Cluster, strategy: dict[str, int], until: str
) -> None:
    cluster.put(failed_run(**strategy))
    line = f"volume: {NAME}-work, 22Gi, kept for argo retry until {until} UTC"
    assert line in argotune(*HERE, NAME).out.splitlines()


def test_a_run_that_goes_on_keeps_nothing_yet(argotune: Argotune, cluster: Cluster) -> None:
    claim = {"name": "work", "persistentVolumeClaim": {"claimName": f"{NAME}-work"}}
    cluster.put(run_of(*step("tune", "Running"), persistentVolumeClaims=[claim]))
    assert "volume" not in argotune(*HERE, NAME).out


def test_a_workspaces_name_means_its_newest_run_though_an_older_one_has_that_name(
    argotune: Argotune, cluster: Cluster
) -> None:
    older = run_of(phase="Failed")
    older["metadata"] |= {"name": "my-model", "creationTimestamp": "2025-01-01T00:00:00Z"}
    cluster.put(older)
    cluster.put(run_of(phase="Succeeded"))
    assert argotune(*HERE, "my-model").out.startswith(f"{NAME}: Succeeded")
