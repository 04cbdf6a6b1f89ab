"""argotune submit --watch and argotune status --watch, on a cluster."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

from tests.fakes.kube import Cluster, Fault, Object
from tests.workflows.cli.cluster_workflows import (
    IMAGE,
    NAME,
    NO_IMAGE,
    entry,
    exit_handler,
    run_of,
    step,
)
from tests.workflows.cli.command import Answer, Argotune, Processes, finish
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.remote.test_states import meanwhile, put_when_watched
from tests.workflows.cli.status import START
from tests.workflows.workspace.helpers import WORKSPACE

WATCH = ("status", NAME, "-n", "team-a", "--watch")


def stops(cluster: Cluster) -> list[str]:
    """What the run was told, in order."""
    return [
        change.item["spec"]["shutdown"]
        for change in cluster.changes
        if change.item["kind"] == "Workflow" and "shutdown" in change.item["spec"]
    ]


def test_steps_are_shown_until_the_run_has_ended(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("plan", "Running")))
    ended = run_of(
        entry(endpoint="http://my-model.team-a.svc", answer=""),
        *step("plan", "Succeeded"),
        *exit_handler("Succeeded"),
        phase="Succeeded",
    )
    with meanwhile(put_when_watched(cluster, ended)):
        answer = argotune(*WATCH)
    assert (answer.code, answer.err) == (0, "")
    first, *others = answer.out.splitlines()
    assert first.startswith("plan       running")
    assert others == [
        "plan       succeeded 7s",
        "release    succeeded 7s",
        "",
        f"{NAME}: Succeeded",
        "endpoint:    http://my-model.team-a.svc",
    ]


def test_a_failed_run_says_what_can_be_done(argotune: Argotune, cluster: Cluster) -> None:
    message = "main: Error (exit code 3): error: no GPU"
    failed = step("tune", "Failed", message=message)
    cluster.put(run_of(*step("plan", "Succeeded"), *failed, phase="Failed", message="child failed"))
    answer = argotune(*WATCH, "--context", "first")
    assert (answer.code, answer.err) == (1, "")
    assert answer.out.splitlines() == [
        "plan       succeeded 7s",
        "tune       failed 7s  error: no GPU",
        "",
        f"{NAME}: Failed",
        "child failed",
        f"logs: argotune logs {NAME} -n team-a --context first",
        f"go on with it: argo retry {NAME} -n team-a --context first"
        " (with the right to delete pods)",
    ]


def test_a_pod_that_waits_says_for_what(argotune: Argotune, cluster: Cluster) -> None:
    message = (
        "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: no"
    )
    cluster.put(run_of(*step("tune", "Pending", message=message)))
    with meanwhile(put_when_watched(cluster, run_of(phase="Succeeded"))):
        answer = argotune(*WATCH)
    assert answer.out.splitlines()[0] == (
        "tune       pending  waits for a GPU: 0/1 nodes are available: 1 Insufficient"
        " nvidia.com/gpu"
    )


def test_what_keeps_the_whole_run_waiting_is_told_once(
    argotune: Argotune, cluster: Cluster
) -> None:
    run = run_of()
    run["spec"]["suspend"] = True
    cluster.put(run)
    cluster.watches = ["end", "end"]
    with meanwhile(put_when_watched(cluster, run_of(phase="Succeeded"), count=3)):
        answer = argotune(*WATCH)
    assert answer.out.splitlines() == [
        f"{NAME}: suspended; `argo resume {NAME} -n team-a` lets it go on",
        "",
        f"{NAME}: Succeeded",
    ]


def test_a_run_that_is_stopped_says_so_of_the_running_step(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    stopping = run_of(*step("tune", "Running"))
    ended = run_of(
        *step("tune", "Failed", message="workflow shutdown with strategy:  Stop"),
        *exit_handler("Succeeded"),
        phase="Failed",
        message="Stopped with strategy 'Stop'",
    )
    for state in (stopping, ended):
        state["spec"]["shutdown"] = "Stop"

    def stop() -> None:
        put_when_watched(cluster, stopping)()
        put_when_watched(cluster, ended)()

    with meanwhile(stop):
        answer = argotune(*WATCH)
    lines = answer.out.splitlines()
    assert lines[0].startswith("tune       running")
    assert "tune       stopped 7s" in lines
    assert "release    succeeded 7s" in lines


def test_a_run_of_which_only_the_argo_server_knows_the_steps(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(phase="Succeeded", offloadNodeStatusVersion="fnv:1"))
    answer = argotune(*WATCH)
    assert answer.out.splitlines()[0] == (
        f"the steps of {NAME} are in Argo's own database, and only the Argo server shows them:"
        f" argo get {NAME} -n team-a"
    )


def submit(argotune: Argotune, write: Write, *flags: str) -> Answer:
    return argotune("submit", write("workspace.yaml", WORKSPACE), "--watch", *flags)


def submitted(cluster: Cluster) -> Object:
    (run,) = cluster.of_kind("Workflow")
    return run


def controller(cluster: Cluster, *states: Object) -> Callable[[], None]:
    """Puts each state once the one before has been answered by telling the run to stop."""

    def act() -> None:
        cluster.wait_for(lambda: any("watch=true" in request for request in cluster.requests))
        for number, state in enumerate(states):
            cluster.wait_for(lambda told=number: len(stops(cluster)) >= told)
            run = submitted(cluster)
            cluster.put({**run, "status": state["status"]})

    return act


def test_a_run_with_bad_input_is_not_to_be_retried(argotune: Argotune, cluster: Cluster) -> None:
    refused = step("dataset", "Failed", message="main: Error (exit code 2): error: --columns: no")
    refused[-1]["outputs"] = {"exitCode": "2"}
    cluster.put(run_of(*step("plan", "Succeeded"), *refused, phase="Failed"))
    answer = argotune(*WATCH)
    assert answer.out.splitlines()[-2:] == [
        "argo retry would come no further: mend the cause and begin a new run",
        f"delete it with its volume: argotune rm {NAME} -n team-a",
    ]


def test_a_run_that_argo_refused_before_its_first_step_is_not_to_be_retried(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(phase="Error", message="spec.arguments.preset was not supplied"))
    assert "argo retry would come no further" in argotune(*WATCH).out


def test_a_run_whose_image_does_not_come_is_stopped(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    waiting = run_of(*step("plan", "Pending", message=NO_IMAGE))
    ended = run_of(
        *step("plan", "Failed", message="workflow shutdown with strategy:  Stop"),
        *exit_handler("Succeeded"),
        phase="Failed",
        message="Stopped with strategy 'Stop'",
    )
    with meanwhile(controller(cluster, waiting, ended)):
        answer = submit(argotune, write, "--pull-timeout-seconds", "0")
    name = submitted(cluster)["metadata"]["name"]
    problem = f"plan: image {IMAGE} cannot be pulled: not found"
    assert answer.code == 1
    assert answer.out.splitlines() == [
        f"workflow.argoproj.io/{name} created in namespace team-a",
        f"plan       pending  image {IMAGE} cannot be pulled: not found",
        f"{problem}; the run is being stopped (spec.shutdown: Stop), its exit handler still runs",
        "plan       stopped 7s",
        "release    succeeded 7s",
        "",
        f"{name}: Stopped",
        f"logs: argotune logs {name} -n team-a",
        "argo retry would come no further: mend the cause and begin a new run",
        f"delete it with its volume: argotune rm {name} -n team-a",
    ]
    assert answer.errors == [
        f"{problem}, for 0 s",
        "is it there, and may the pods pull it? `argotune install --images-registry` sets where the"
        " step images come from, `argotune doctor -n team-a` tries to pull them",
    ]
    assert stops(cluster)[0] == "Stop"


def test_an_exit_handler_whose_image_does_not_come_is_left_out(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    plan = step("plan", "Failed", message="workflow shutdown with strategy:  Stop")
    ended = run_of(*plan, phase="Failed", message="Stopped with strategy 'Terminate'")
    with meanwhile(
        controller(
            cluster,
            run_of(*step("plan", "Pending", message=NO_IMAGE)),
            run_of(*plan, *exit_handler("Pending", message=NO_IMAGE)),
            ended,
        )
    ):
        answer = submit(argotune, write, "--pull-timeout-seconds", "0")
    assert answer.code == 1
    assert (
        f"release: image {IMAGE} cannot be pulled: not found; the run is ended without this exit"
        " handler (spec.shutdown: Terminate)"
    ) in answer.out.splitlines()
    assert list(dict.fromkeys(stops(cluster))) == ["Stop", "Terminate"]


def test_looking_on_at_somebody_elses_run_does_not_stop_it(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("plan", "Pending", message=NO_IMAGE)))
    with meanwhile(put_when_watched(cluster, run_of(phase="Succeeded"))):
        assert argotune(*WATCH).code == 0
    assert stops(cluster) == []


def test_ctrl_c_leaves_the_run_going(start: Processes, cluster: Cluster) -> None:
    cluster.put(run_of(*step("plan", "Running")))
    process: subprocess.Popen[str] = start(*WATCH)
    cluster.wait_for(lambda: any("watch=true" in request for request in cluster.requests))
    process.send_signal(signal.SIGINT)
    answer = finish(process)
    assert (answer.code, answer.err) == (130, "")
    assert answer.out.splitlines()[-3:] == [
        f"run {NAME} goes on",
        f"watch it again: argotune status {NAME} -n team-a --watch",
        f"end it: argotune stop {NAME} -n team-a",
    ]
    assert stops(cluster) == []


def test_a_step_that_waits_for_a_node_says_why(argotune: Argotune, cluster: Cluster) -> None:
    cluster.events += [
        event_of("provision", "Registered: NodeNotFound", "2026-01-01T00:00:20+00:00"),
        event_of("provision", "Karpenter has just been asked", "2026-01-01T00:00:10+00:00"),
        event_of("provision", "of another run", "2026-01-01T00:00:30+00:00", uid="other"),
        event_of("tune", "of a step that does not say it", "2026-01-01T00:00:30+00:00"),
    ]
    cluster.put(run_of(*step("provision", "Running"), *step("tune", "Running")))
    ended = run_of(*step("provision", "Succeeded"), *step("tune", "Succeeded"), phase="Succeeded")
    with meanwhile(put_when_watched(cluster, ended)):
        answer = argotune(*WATCH)
    lines = answer.out.splitlines()
    assert lines[0].startswith("provision  running")
    assert lines[0].endswith("  Registered: NodeNotFound")
    assert "says" not in answer.out
    assert lines[2] == "provision  succeeded 7s"


def test_a_deploy_that_waits_says_why(argotune: Argotune, cluster: Cluster) -> None:
    cluster.events.append(event_of("deploy", "Unschedulable: 3 Insufficient cpu", START))
    cluster.put(run_of(*step("deploy", "Running")))
    answer = argotune("status", NAME, "-n", "team-a")
    assert "Unschedulable: 3 Insufficient cpu" in answer.out


def test_without_the_right_to_list_events_the_steps_are_shown(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.faults = [Fault("GET", "/events", 403, "events is forbidden", times=9)]
    cluster.put(run_of(*step("provision", "Running")))
    with meanwhile(put_when_watched(cluster, run_of(phase="Succeeded"))):
        answer = argotune(*WATCH)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("provision  running")


def event_of(step: str, message: str, last: str, uid: str = "") -> Object:
    return {
        "metadata": {"name": f"event-{message}"},
        "involvedObject": {"uid": uid or run_of()["metadata"]["uid"]},
        "reportingComponent": f"argotune-{step}",
        "message": message,
        "lastTimestamp": last,
    }
