"""The steps of a run as a person thinks of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from argotune.workflows.cli.show.rows import StepRow, age, last_line, step_rows
from argotune.workflows.cli.show.workflow_json import shown_phase
from tests.workflows.cli.status import END, Node, attempt, node, retry, workflow_of

ARGO = 'time=2026-01-01T00:00:00.000Z level=INFO msg="sub-process exited" argo=true error=<nil>'
NOW = datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)


def rows(*nodes: dict[str, object]) -> list[StepRow]:
    return step_rows(workflow_of(*nodes), NOW)


def test_only_steps_are_rows_and_the_ones_left_out_come_last() -> None:
    found = rows(
        node("one", "Running", type="DAG"),
        node("left-out", "Skipped", type="Skipped"),
        node("second", "Running", startedAt=END),
        node("first", "Succeeded"),
        node("omitted", "Omitted", type="Skipped"),
    )
    assert [row.name for row in found] == ["first", "second", "left-out", "omitted"]


def test_steps_that_are_left_out_stand_in_the_order_of_the_template() -> None:
    names = ("evaluate", "push", "deploy")
    left_out = [
        node(name, "Omitted", type="Skipped", startedAt=f"2026-01-01T00:00:0{second}Z")
        for name, second in (("push", 1), ("deploy", 1), ("evaluate", 2))
    ]
    run = workflow_of(*left_out, node("tune", "Failed"))
    tasks = [{"name": name} for name in ("tune", *names)]
    run["spec"] = {"templates": [{"name": "finetune", "dag": {"tasks": tasks}}]}
    assert [row.name for row in step_rows(run, NOW)] == ["tune", *names]


def test_a_step_that_was_retried_takes_the_time_of_its_tries() -> None:
    """`argo retry` deletes the failed try, and leaves the start of the node around it."""
    newer = attempt("provision(0)", "Running", startedAt=END)
    found = rows(*retry("provision", "Running", newer))
    assert [row.seconds for row in found] == [3]


def test_seconds_are_from_start_to_end_or_until_now() -> None:
    found = rows(
        node("ended", "Succeeded"),
        node("running", "Running"),
        node("omitted", "Omitted", type="Skipped"),
    )
    assert [row.seconds for row in found] == [7, 10, None]


def test_progress_is_done_of_total() -> None:
    (row,) = rows(node("tune", "Running", progress="3/8"))
    assert (row.done, row.total) == (3, 8)


def test_all_tries_of_a_step_are_one_row() -> None:
    (row,) = rows(
        *retry(
            "tune",
            "Running",
            attempt("tune(0)", "Failed", message="main: Error (exit code 75): cut off"),
            attempt("tune(1)", "Running", progress="3/8"),
        )
    )
    assert (row.name, row.phase, row.attempts, row.message) == ("tune", "Running", 2, "")
    assert (row.done, row.total) == (3, 8)


def summary(text: str) -> dict[str, object]:
    return {"parameters": [{"name": "rows", "value": "5"}, {"name": "summary", "value": text}]}


def test_a_step_that_succeeded_says_in_one_line_what_it_came_to() -> None:
    found = rows(
        node("dataset", "Succeeded", outputs=summary("5 rows: 4 to train")),
        *retry("again", "Succeeded", attempt("again(0)", "Succeeded"), outputs=summary("6 rows")),
        node("plan", "Succeeded"),
        node("failed", "Failed", message="main: Error (exit code 3): none", outputs=summary("no")),
    )
    said = {row.name: row.message for row in found}
    assert said == {
        "dataset": "5 rows: 4 to train",
        "again": "6 rows",
        "plan": "",
        "failed": "none",
    }


def test_between_two_tries_a_step_says_what_failed_and_how_long_it_waits() -> None:
    (row,) = rows(
        *retry(
            "tune",
            "Running",
            attempt("tune(0)", "Failed", message="main: Error (exit code 75): error: cut off"),
            message="Backoff for 10 seconds",
        )
    )
    assert (row.phase, row.attempts) == ("Retrying", 1)
    assert row.message == "error: cut off; backoff for 10 seconds"


def test_the_last_try_says_why_the_step_failed() -> None:
    (row,) = rows(
        *retry(
            "tune",
            "Failed",
            attempt("tune(0)", "Failed", message="main: Error (exit code 75): first"),
            attempt("tune(1)", "Failed", message="main: Error (exit code 75): second"),
            message="No more retries left",
        )
    )
    assert (row.phase, row.attempts, row.message) == ("Failed", 2, "second")


def test_a_hook_below_a_retried_step_is_no_try() -> None:
    hook = node("tune.hooks.running", "Succeeded", nodeFlag={"hooked": True})
    parent, first = retry("tune", "Succeeded", attempt("tune(0)", "Succeeded"))
    parent["children"].append(hook["id"])
    found = {row.name: row for row in rows(parent, first, hook)}
    assert found.keys() == {"tune", "tune.hooks.running"}
    assert found["tune"].attempts == 1


def test_a_try_whose_pod_waits_makes_its_step_wait() -> None:
    message = "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
    (row,) = rows(*retry("tune", "Running", attempt("tune(0)", "Pending", message=message)))
    assert row.phase == "Pending"
    assert row.message == "waits for a node: 0/1 nodes are available: 1 Insufficient cpu"


def test_a_suspended_step_is_not_shown_as_running() -> None:
    (row,) = rows(node("wait", "Running", type="Suspend"))
    assert row.phase == "Suspended"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (node("tune", "Failed", message="workflow shutdown with strategy:  Stop"), ""),
        (node("wait", "Failed", type="Suspend", message="Stopped with strategy 'Stop'"), ""),
        (
            node("tune", "Failed", message="main: Error (exit code 75): error: stopped by SIGTERM"),
            "error: stopped by SIGTERM",
        ),
    ],
)
def test_a_step_of_a_stopped_run_has_not_failed(step: Node, message: str) -> None:
    workflow = workflow_of(step)
    workflow["status"] |= {"phase": "Failed", "message": "Stopped with strategy 'Stop'"}
    (row,) = step_rows(workflow, NOW)
    assert (row.phase, row.message) == ("Stopped", message)


def test_a_step_that_failed_before_its_run_was_stopped_has_failed() -> None:
    workflow = workflow_of(node("tune", "Failed", message="main: Error (exit code 3): no"))
    workflow["status"] |= {"phase": "Failed", "message": "Stopped with strategy 'Stop'"}
    (row,) = step_rows(workflow, NOW)
    assert row.phase == "Failed"


def test_a_run_that_watch_stops_has_failed() -> None:
    workflow = workflow_of(node("watch", "Failed"))
    workflow["status"] |= {"phase": "Failed", "message": "Stopped with strategy 'Stop'"}
    assert shown_phase(workflow) == "Failed"
    assert shown_phase({**workflow, "status": {**workflow["status"], "nodes": {}}}) == "Stopped"


def test_an_exit_handler_goes_by_its_template() -> None:
    found = rows(
        node("one.onExit", "Succeeded", templateName="release"),
        *retry("two.onExit", "Succeeded", attempt("two.onExit(0)", "Succeeded"), templateName="x"),
    )
    assert [row.name for row in found] == ["release", "x"]


def test_an_exit_handler_that_argo_flags_as_a_try_is_a_step() -> None:
    flags = {"nodeFlag": {"hooked": True, "retried": True}, "templateName": "release"}
    (row,) = rows(*retry("one.onExit", "Succeeded", attempt("one.onExit(0)", "Succeeded"), **flags))
    assert (row.name, row.phase, row.attempts) == ("release", "Succeeded", 1)


def test_steps_of_one_name_stay_apart() -> None:
    found = rows(node("a", "Running", displayName="load"), node("b", "Running", displayName="load"))
    assert [(row.id, row.name) for row in found] == [("a", "load"), ("b", "load")]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("main: Error (exit code 1)", "main: Error (exit code 1)"),
        ("main: Error (exit code 2): error: no such preset", "error: no such preset"),
        ("main: Error (exit code 1): Traceback:\n  File x\nValueError: no\n\n", "ValueError: no"),
        ("main: Error (exit code 137): step 7", "killed by SIGKILL (exit code 137)"),
        ("main: OOMKilled (exit code 137): step 7", "OOMKilled (exit code 137)"),
        (
            "main: OOMKilled (exit code 137): host memory: 1 GiB used of 1 GiB; give at least 2Gi",
            "OOMKilled (exit code 137): host memory: 1 GiB used of 1 GiB; give at least 2Gi",
        ),
        (
            "main: OOMKilled (exit code 137): host memory: 4.0 GiB used of 4.0 GiB; if it ran out "
            "of memory, its input is far larger",
            "OOMKilled (exit code 137): host memory: 4.0 GiB used of 4.0 GiB; if it ran out "
            "of memory, its input is far larger",
        ),
        (
            f"main: Error (exit code 3): {ARGO}\nerror: no luck\n{ARGO}\nError: exit status 3",
            "error: no luck",
        ),
        (f"main: Error (exit code 143): {ARGO}\nstep 7", "killed by SIGTERM (exit code 143)"),
        ("10%\r20%\rerror: disk full", "error: disk full"),
        ("\x1b[31merror: red\x1b[0m", "error: red"),
        ("Pod was active on the node longer than the deadline",) * 2,
    ],
)
def test_a_message_is_cut_to_its_last_line(message: str, line: str) -> None:
    assert last_line(message) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (3599, "59m"), (3600, "1h"), (86400 * 2, "2d")],
)
def test_age_is_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_reason_is_shown_while_its_step_runs() -> None:
    nodes = [node("provision", "Running"), node("tune", "Succeeded")]
    found = step_rows(workflow_of(*nodes), NOW, {"provision": "queued", "tune": "queued"})
    assert [row.message for row in found] == ["queued", ""]


def test_an_approval_that_nobody_asked_for_is_no_row() -> None:
    assert rows(node("approval", "Skipped", type="Skipped")) == []
    assert rows(node("approved", "Omitted", type="Skipped")) == []
    assert [row.name for row in rows(node("approve", "Running", type="Suspend"))] == ["approve"]


@pytest.mark.parametrize("step", ["answer", "score"])
def test_the_steps_of_a_scorer_that_nobody_asked_for_are_no_rows(step: str) -> None:
    assert rows(node(step, "Skipped", type="Skipped")) == []
    assert rows(node(step, "Omitted", type="Skipped")) == []
    assert [row.name for row in rows(node(step, "Running"))] == [step]


def test_the_watch_over_a_node_that_nobody_made_is_no_row() -> None:
    assert rows(node("watch", "Skipped", type="Skipped")) == []
    assert rows(node("watch", "Omitted", type="Skipped")) == []
    assert [row.name for row in rows(node("watch", "Running"))] == ["watch"]
