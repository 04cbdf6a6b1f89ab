"""argotune stop of a cluster's runs and services."""

from __future__ import annotations

import pytest

from tests.fakes.kube import Cluster, Fault, Object
from tests.workflows.cli.cluster_workflows import NAME, exit_handler, run_of, service_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.remote.test_states import meanwhile

STOP = ("stop", "-n", "team-a")
STOPPED = "Stopped with strategy 'Stop'"


def end_when_told(cluster: Cluster, *runs: Object) -> object:
    """A controller that ends each run once it is told to."""

    def act() -> None:
        for run in runs:
            name = run["metadata"]["name"]
            key = ("Workflow", "team-a", name)
            cluster.wait_for(lambda key=key: "shutdown" in cluster.objects[key]["spec"])
            cluster.put({**run, "spec": cluster.objects[key]["spec"]})

    return meanwhile(act)


def spec(cluster: Cluster, name: str = NAME) -> Object:
    found: Object = cluster.objects["Workflow", "team-a", name]["spec"]
    return found


def put_service(cluster: Cluster, name: str = "my-model") -> None:
    labels = {"argotune.dev/service": name}
    cluster.put(service_of(name))
    for kind in ("Service", "NetworkPolicy"):
        metadata = {"name": name, "namespace": "team-a", "labels": labels}
        cluster.put({"kind": kind, "metadata": metadata})


@pytest.mark.parametrize("name", ["my-model", NAME])
def test_a_run_is_stopped_and_its_exit_handler_told_of(
    argotune: Argotune, cluster: Cluster, name: str
) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    ended = run_of(
        *exit_handler("Succeeded", released="node gpu-1"), phase="Failed", message=STOPPED
    )
    with end_when_told(cluster, ended):
        answer = argotune(*STOP, name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        f"run {NAME}: asked to stop; its exit handler still runs",
        f"run {NAME}: Stopped",
        f"run {NAME}: release: Succeeded: node gpu-1",
    ]
    assert spec(cluster)["shutdown"] == "Stop"


def test_what_the_exit_handler_failed_of_is_told(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of())
    handler = exit_handler("Failed", message="main: Error (exit code 75): error: the cloud is gone")
    with end_when_told(cluster, run_of(*handler, phase="Error")):
        answer = argotune(*STOP, NAME)
    assert answer.out.splitlines()[-1] == f"run {NAME}: release: Failed: error: the cloud is gone"


def test_terminate_warns_of_what_it_leaves_out(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    with end_when_told(cluster, run_of(phase="Failed")):
        answer = argotune(*STOP, NAME, "--terminate")
    assert answer.code == 0
    assert answer.out.splitlines() == [f"run {NAME}: asked to end at once", f"run {NAME}: Failed"]
    assert answer.err == (
        f"warning: run {NAME}: --terminate leaves out the exit handler: what release would give"
        " back, such as a GPU node made for the run, stays\n"
    )
    assert spec(cluster)["shutdown"] == "Terminate"


def test_a_run_that_does_not_end_in_time(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    answer = argotune(*STOP, NAME, "--timeout-seconds", "0")
    assert answer.code == 3
    assert answer.errors == [
        f"run {NAME}: has not ended in time, and goes on ending; look with"
        f" `argotune status {NAME} -n team-a --watch`"
    ]


def test_a_run_that_no_controller_took_is_not_waited_for(
    argotune: Argotune, cluster: Cluster
) -> None:
    run = run_of()
    del run["status"]
    cluster.put(run)
    answer = argotune(*STOP, NAME)
    assert answer.code == 3
    assert answer.errors == [
        f"run {NAME}: no controller of Argo has taken it, so nothing of it has begun and nothing"
        f" ends it; `argotune rm {NAME} -n team-a` deletes it, `argotune doctor -n team-a` says"
        " whether a controller runs"
    ]


def test_a_suspended_run_is_let_go_to_end(argotune: Argotune, cluster: Cluster) -> None:
    run = run_of()
    run["spec"]["suspend"] = True
    cluster.put(run)
    with end_when_told(cluster, run_of(phase="Failed", message=STOPPED)):
        answer = argotune(*STOP, NAME)
    assert answer.code == 0
    assert spec(cluster)["shutdown"] == "Stop"
    assert not spec(cluster).get("suspend")


def test_all_stops_every_run_of_the_namespace(argotune: Argotune, cluster: Cluster) -> None:
    assert argotune(*STOP, "--all").out == "nothing is running in namespace team-a\n"
    other = "other-abcde"
    cluster.put(run_of())
    cluster.put(run_of(name=other))
    with end_when_told(cluster, run_of(phase="Failed"), run_of(phase="Failed", name=other)):
        answer = argotune(*STOP, "--all")
    assert answer.code == 0
    assert spec(cluster)["shutdown"] == spec(cluster, other)["shutdown"] == "Stop"


def test_what_does_not_run_is_named_after_the_rest_is_stopped(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of())
    cluster.put(run_of(phase="Succeeded", name="old-abcde"))
    with end_when_told(cluster, run_of(phase="Failed")):
        answer = argotune(*STOP, "old", NAME, "nope")
    assert answer.code == 2
    assert answer.errors == [
        f"'{name}': no run of this name is running in namespace team-a; --service removes a service"
        for name in ("old", "nope")
    ]
    assert "shutdown" not in spec(cluster, "old-abcde")


def newer(run: Object) -> Object:
    """The run as one that began an hour after the others."""
    metadata = {**run["metadata"], "creationTimestamp": "2026-01-01T01:00:00Z"}
    return {**run, "metadata": metadata}


def test_a_workspaces_name_means_its_newest_run(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of())
    cluster.put(newer(run_of(phase="Succeeded", name="my-model-newer")))
    answer = argotune(*STOP, "my-model")
    assert (answer.code, answer.errors) == (
        2,
        [
            "'my-model': no run of this name is running in namespace team-a; an older run goes on:"
            f" argotune stop {NAME}"
        ],
    )
    assert "shutdown" not in spec(cluster)


def test_an_older_run_of_the_workspace_is_named_and_goes_on(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of())
    cluster.put(run := newer(run_of(name="my-model-newer")))
    failed = {**run, "status": run_of(phase="Failed")["status"]}
    with end_when_told(cluster, failed):
        answer = argotune(*STOP, "my-model")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == f"an older run goes on: argotune stop {NAME}"
    assert "shutdown" not in spec(cluster)


def test_service_removes_the_workspaces_objects(argotune: Argotune, cluster: Cluster) -> None:
    put_service(cluster)
    answer = argotune(*STOP, "my-model", "--service")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        f"{kind} my-model: deleted from namespace team-a"
        for kind in ("Deployment", "Service", "NetworkPolicy")
    ]
    assert cluster.of_kind("Deployment") == cluster.of_kind("Service") == []
    answer = argotune(*STOP, "my-model", "--service")
    assert answer.code == 2
    assert answer.errors == [
        "'my-model': no run of this name is running in namespace team-a; and no service of it is"
        " there"
    ]


def test_service_of_a_run_is_that_of_its_workspace(argotune: Argotune, cluster: Cluster) -> None:
    put_service(cluster)
    cluster.put(run_of())
    with end_when_told(cluster, run_of(phase="Failed")):
        answer = argotune(*STOP, NAME, "--service")
    assert answer.code == 0
    assert cluster.of_kind("Deployment") == []


def test_objects_of_others_stay(argotune: Argotune, cluster: Cluster) -> None:
    put_service(cluster)
    cluster.put({"kind": "Service", "metadata": {"name": "my-model", "namespace": "team-a"}})
    answer = argotune(*STOP, "my-model", "--service")
    assert answer.code == 0
    assert answer.err == "warning: Service my-model is not argotune's, and stays\n"
    assert len(cluster.of_kind("Service")) == 1
    assert cluster.of_kind("Deployment") == []


def test_kinds_that_the_cluster_does_not_have_are_passed_over(
    argotune: Argotune, cluster: Cluster
) -> None:
    put_service(cluster)
    for plural in ("httproutes", "servicemonitors"):
        # As of an API that is not there: no object is named.
        cluster.faults.append(Fault("GET", f"/{plural}/", 404, message="Not Found"))
    answer = argotune(*STOP, "my-model", "--service")
    assert (answer.code, answer.err) == (0, "")
    assert cluster.of_kind("Deployment") == []
    assert [fault.times for fault in cluster.faults] == [0, 0]


def test_flags_that_are_for_a_cluster(argotune: Argotune) -> None:
    answer = argotune("stop", "my-model", "--terminate", "--service")
    assert answer.code == 2
    assert answer.errors == [
        "--terminate: for a cluster; name a --namespace",
        "--service: for a cluster; name a --namespace",
    ]
