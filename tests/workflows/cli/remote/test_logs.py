"""argotune logs of a run on a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.kube import Cluster, Fault, Object
from tests.workflows.cli.cluster_workflows import (
    NAME,
    exit_handler,
    pod_of,
    put_pod,
    run_of,
    step,
)
from tests.workflows.cli.command import Argotune, Processes, finish
from tests.workflows.cli.status import END, Node, attempt, retry

LOGS = ("logs", "-n", "team-a")
ARGO = 'time=2026-01-01T00:00:00.000Z level=INFO msg="sub-process exited" argo=true error=<nil>'
CLAIM = {"name": "work", "persistentVolumeClaim": {"claimName": f"{NAME}-work"}}


def flaky() -> list[Node]:
    return retry(
        "flaky",
        "Succeeded",
        attempt("flaky(0)", "Failed", startedAt=END),
        attempt("flaky(1)", "Succeeded", startedAt="2026-01-01T00:00:09Z"),
    )


def ended_run(**status: Any) -> Object:
    return run_of(*flaky(), *step("first", "Succeeded"), phase="Succeeded", **status)


@pytest.fixture
def pods(cluster: Cluster) -> None:
    cluster.put(ended_run())
    put_pod(cluster, "flaky(1)", "try 1")
    put_pod(cluster, "flaky(0)", "try 0")
    put_pod(cluster, "first(0)", ARGO, "one", "two: 2", ARGO, "Error: exit status 1")


@pytest.mark.usefixtures("pods")
def test_every_line_has_its_step_and_argos_own_lines_are_left_out(argotune: Argotune) -> None:
    answer = argotune(*LOGS, "my-model")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "first(0): one",
        "first(0): two: 2",
        "flaky(0): try 0",
        "flaky(1): try 1",
    ]


@pytest.mark.usefixtures("pods")
def test_a_step_stands_for_its_tries(argotune: Argotune) -> None:
    assert argotune(*LOGS, NAME, "flaky").out == "flaky(0): try 0\nflaky(1): try 1\n"
    assert argotune(*LOGS, NAME, "flaky(1)").out == "try 1\n"


def test_a_step_that_argo_calls_pending_while_its_pod_runs(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("first", "Pending"), *step("next", "Pending")))
    put_pod(cluster, "first(0)", "one")
    cluster.put(pod_of("next(0)"))
    assert argotune(*LOGS, NAME, "first").out == "first(0): one\n"
    answer = argotune(*LOGS, NAME, "next")
    assert answer.errors == [f"'next': no step of {NAME} with a log; there are first(0)"]


@pytest.mark.usefixtures("pods")
def test_an_unknown_step_or_run(argotune: Argotune) -> None:
    answer = argotune(*LOGS, NAME, "tune")
    assert answer.code == 2
    assert answer.errors == [
        f"'tune': no step of {NAME} with a log; there are first(0), flaky(0), flaky(1)"
    ]
    assert argotune(*LOGS, "nope").errors == [
        "'nope': no run or workspace of this name in namespace team-a; there are my-model"
    ]


def test_of_pods_that_are_gone_the_end_of_a_failed_log_is_left(
    argotune: Argotune, cluster: Cluster
) -> None:
    failed = step("tune", "Failed", outputs={"log": "step 7\nRuntimeError: no"})
    cluster.put(
        run_of(*step("plan", "Succeeded"), *failed, phase="Failed", persistentVolumeClaims=[CLAIM])
    )
    answer = argotune(*LOGS, NAME)
    assert answer.code == 0
    assert answer.out == "tune(0): step 7\ntune(0): RuntimeError: no\n"
    assert answer.err == (
        "note: the pods of plan(0), tune(0) are gone, and only the end of a failed step's log is"
        f" kept; the whole logs are on the run's volume {NAME}-work, in logs/\n"
    )


def test_a_volume_that_is_gone_too(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("plan", "Succeeded"), phase="Succeeded"))
    answer = argotune(*LOGS, NAME)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.endswith("; the run's volume with the whole logs is gone too\n")


def test_a_container_that_has_not_started_has_no_log(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of(*step("plan", "Running")))
    put_pod(cluster, "plan(0)", "not yet to be read")
    cluster.faults.append(Fault("GET", "/log", 400, message="container main is waiting to start"))
    answer = argotune(*LOGS, NAME)
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_follow_prints_lines_as_they_come_and_ends_with_the_run(
    start: Processes, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("plan", "Running")))
    plan = put_pod(cluster, "plan(0)", "one", writing=True)
    following = start(*LOGS, NAME, "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == "plan(0): one\n"
    cluster.write_log(plan, "two")
    assert following.stdout.readline() == "plan(0): two\n"
    cluster.end_log(plan)
    put_pod(cluster, "release(0)", "bye")
    cluster.put(run_of(*step("plan", "Succeeded"), *exit_handler("Succeeded"), phase="Succeeded"))
    answer = finish(following)
    assert (answer.code, answer.out, answer.err) == (0, "release(0): bye\n", "")


def test_follow_begins_with_what_is_over_in_its_order(argotune: Argotune, cluster: Cluster) -> None:
    names = [f"step-{number}" for number in range(8)]
    cluster.put(
        run_of(*(node for name in names for node in step(name, "Succeeded")), phase="Failed")
    )
    lines = [f"line {number}" for number in range(50)]
    for name in reversed(names):
        put_pod(cluster, f"{name}(0)", *lines)
    answer = argotune(*LOGS, NAME, "--follow")
    assert answer.out.splitlines() == [f"{name}(0): {line}" for name in names for line in lines]


def test_follow_comes_again_to_a_container_that_had_not_started(
    start: Processes, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("plan", "Running")))
    put_pod(cluster, "plan(0)", "one")
    cluster.faults.append(Fault("GET", "/log", 400, message="container main is waiting to start"))
    following = start(*LOGS, NAME, "plan", "--follow")
    cluster.wait_for(lambda: cluster.faults[0].times == 0)
    cluster.put(run_of(*step("plan", "Succeeded"), phase="Succeeded"))
    answer = finish(following)
    assert (answer.code, answer.out, answer.err) == (0, "plan(0): one\n", "")


def test_a_log_that_may_not_be_read_is_told_at_the_end(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(ended_run())
    put_pod(cluster, "first(0)", "one")
    cluster.faults.append(Fault("GET", "/log", 403, message="cannot get pods/log"))
    answer = argotune(*LOGS, NAME, "first", "--follow")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith(
        "first(0): log of pod pod-of-first-0: the cluster answers 403: cannot get pods/log; "
    )
