"""argotune status of a cluster."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
import yaml

from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.cluster_workflows import (
    NAME,
    entry,
    exit_handler,
    run_of,
    service_of,
    step,
)
from tests.workflows.cli.command import Argotune
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
    """The rows without their ages."""
    answer = argotune(*HERE)
    assert (answer.code, answer.err) == (0, "")
    head, *found = rows(answer.out)
    assert head == COLUMNS
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
    cluster.put(run_of(*PROVISION, *step("tune", "Running")))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "False"]]
    cluster.put(service_of("my-model"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "True", "False"]]
    cluster.put(run_of(*PROVISION, phase="Succeeded"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "True", "True"]]


def test_a_service_without_a_server_that_answers(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*PROVISION, phase="Succeeded"))
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


def test_the_newest_run_of_a_workspace_counts(argotune: Argotune, cluster: Cluster) -> None:
    newer = run_of(*PROVISION, name="my-model-fghij")
    newer["metadata"]["creationTimestamp"] = END
    cluster.put(newer)
    cluster.put(run_of(*step("plan", "Failed"), phase="Failed"))
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "False"]]
    assert argotune(*HERE, "my-model").out.startswith("my-model-fghij: Running\n")


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


def test_a_failed_step_shows_the_end_of_its_log(argotune: Argotune, cluster: Cluster) -> None:
    log = "loading the model\nRuntimeError: out of memory"
    cluster.put(
        run_of(
            *step("tune", "Failed", message="error: killed", outputs={"log": log}),
            phase="Failed",
            message="child 'tune' failed",
        )
    )
    lines = argotune(*HERE, NAME).out.splitlines()
    assert lines[0] == f"{NAME}: Failed: child 'tune' failed"
    assert lines[1].split() == ["✖", "tune", "failed", "7s", "error:", "killed"]
    assert lines[2:] == [
        "the end of the log of tune(0):",
        "  loading the model",
        "  RuntimeError: out of memory",
        f"logs: argotune logs {NAME} -n team-a",
        f"go on with it: argo retry {NAME} -n team-a",
        f"in Argo's UI: /workflows/team-a/{NAME}",
    ]


def test_nodes_that_argo_packed_are_unpacked(argotune: Argotune, cluster: Cluster) -> None:
    run = run_of(*PROVISION)
    nodes = run["status"].pop("nodes")
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    run["status"]["compressedNodes"] = packed
    cluster.put(run)
    assert table(argotune) == [["my-model", "NVIDIA A10", "True", "False", "False"]]
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
        "'nope': no run or workspace of this name in namespace team-a; nothing was run there yet"
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
