"""argotune status."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.steps.contracts.services import RECORD, Service, process_started, write_record
from tests.workflows.cli.command import Argotune, Processes, finish, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, dag, shell, shown_duration, workflow

COLUMNS = ["NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE"]
PROVISION = shell(
    "provision",
    "echo NVIDIA A10 > /tmp/accelerator",
    outputs={
        "parameters": [{"name": "accelerator", "valueFrom": {"path": "/tmp/accelerator"}}],
    },
)


def write_service(
    home_dir: Path, name: str, pid: int, *, model: str = "argotune/tiny@main"
) -> None:
    directory = home_dir / "services" / name
    directory.mkdir(parents=True, exist_ok=True)
    service = Service(
        name=name,
        pid=pid,
        process_started=process_started(pid) or "",
        port=8080,
        endpoint="http://127.0.0.1:8080",
        digest="sha256:0",
        model=model,
        started="2026-01-01T00:00:00Z",
    )
    write_record(directory / RECORD, service)


def ours(text: str, name: str = "greet") -> str:
    """The workflow as one that argotune renders of a workspace."""
    labels = f"labels: {{argotune.dev/workspace: {name}}}"
    return text.replace("{generateName: greet-}", f"{{generateName: {name}-, {labels}}}")


def rows(out: str) -> list[list[str]]:
    """The table's cells; columns stand two spaces apart."""
    head, *lines = out.splitlines()
    begins = [head.index(column) for column in COLUMNS]
    ends = [*begins[1:], None]
    return [
        [line[begin:end].strip() for begin, end in zip(begins, ends, strict=True)]
        for line in [head, *lines]
    ]


def test_before_the_first_run(argotune: Argotune) -> None:
    answer = argotune("status")
    assert answer.code == 0
    assert answer.out == "no runs on this machine; `argotune run workspace.yaml` starts one\n"


def test_the_columns_are_kaitos(argotune: Argotune, write: Write, home_dir: Path) -> None:
    text = ours(workflow(dag("provision"), PROVISION))
    assert argotune("run", write("workflow.yaml", text)).code == 0
    header, (*cells, age) = rows(argotune("status").out)
    assert header == COLUMNS
    assert cells == ["greet", "NVIDIA A10", "True", "False", "False"]
    assert re.fullmatch(r"\d+s", age)
    write_service(home_dir, "greet", os.getpid())
    assert rows(argotune("status").out)[1][:-1] == ["greet", "NVIDIA A10", "True", "True", "True"]


def test_a_workspace_that_failed_is_not_ready_though_its_old_service_answers(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    bad = workflow(dag("provision", "bad after provision"), PROVISION, shell("bad", "exit 1"))
    assert argotune("run", write("workflow.yaml", ours(bad))).code == 1
    write_service(home_dir, "greet", os.getpid())
    assert rows(argotune("status").out)[1][2:5] == ["True", "True", "False"]


def test_a_workspace_has_one_row_for_its_newest_run(argotune: Argotune, write: Write) -> None:
    file = write("workflow.yaml", ours(GREETING))
    for _ in range(2):
        assert argotune("run", file).code == 0
    other = write("other.yaml", ours(GREETING, "other"))
    assert argotune("run", other).code == 0
    names = [row[0] for row in rows(argotune("status").out)[1:]]
    assert sorted(names) == ["greet", "other"]


def test_workflows_of_others_are_in_no_table_of_workspaces(
    argotune: Argotune, write: Write
) -> None:
    assert argotune("run", write("workflow.yaml", GREETING)).code == 0
    answer = argotune("status")
    assert (answer.code, answer.out) == (
        0,
        "no workspace was run on this machine; `argotune runs` lists runs of other workflows\n",
    )
    assert argotune("run", write("ours.yaml", ours(GREETING, "mine"))).code == 0
    assert [row[0] for row in rows(argotune("status").out)[1:]] == ["mine"]


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_output_is_the_workflow_object(
    argotune: Argotune, write: Write, output: str, load: Any
) -> None:
    file = write("workflow.yaml", ours(GREETING))
    record = json.loads(argotune("run", file, "--name", "one", "-o", "json").out)
    for name in ("one", "greet"):
        assert load(argotune("status", name, "-o", output).out) == record
    assert load(argotune("status", "-o", output).out) == [record]


def test_one_run_shows_its_steps_and_results(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    assert argotune("run", write("workflow.yaml", GREETING), "--name", "one").code == 0
    write_service(home_dir, "greet", os.getpid())
    first, step, *results = argotune("status", "greet").out.splitlines()
    assert first == "one: Succeeded"
    assert step.split()[:2] == ["✔", "one"]
    assert results == ["said: hello", "service: http://127.0.0.1:8080"]


def test_a_failed_run_shows_the_error_and_how_to_go_on(argotune: Argotune, write: Write) -> None:
    script = "echo 'Traceback (most recent call last):'; echo '[/x] ValueError: no' >&2; exit 1"
    file = write("workflow.yaml", workflow(shell("main", script)))
    assert argotune("run", file, "--name", "one").code == 1
    first, step, last = argotune("status", "one").out.splitlines()
    assert first == "one: Failed"
    node = json.loads(argotune("status", "one", "-o", "json").out)["status"]["nodes"]["one"]
    seconds = shown_duration(node)
    assert step.split() == ["✖", "one", "failed", seconds, "[/x]", "ValueError:", "no"]
    assert last == "go on with it: argotune run --resume one"


def test_an_unknown_name(argotune: Argotune, write: Write) -> None:
    answer = argotune("status", "nope")
    assert answer.code == 2
    assert answer.errors == [
        "'nope': no run or workspace of this name on this machine; nothing was run yet"
    ]
    assert argotune("run", write("workflow.yaml", GREETING)).code == 0
    assert argotune("status", "nope").errors == [
        "'nope': no run or workspace of this name on this machine; there are greet"
    ]


def test_a_record_that_is_damaged_hides_its_run_only(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    file = write("workflow.yaml", GREETING)
    for name in ("one", "two"):
        assert argotune("run", file, "--name", name).code == 0
    (home_dir / "runs" / "two" / "workflow.json").write_text("{")
    assert argotune("status", "greet").out.startswith("one: ")


def test_watch_shows_a_run_of_another_process_until_its_end(
    start: Processes, write: Write, tmp_path: Path, home_dir: Path
) -> None:
    go_on = tmp_path / "go-on"
    script = f"until test -e {go_on}; do sleep 0.05; done"
    run = start("run", write("workflow.yaml", workflow(shell("main", script))), "--name", "slow")
    wait_until(lambda: any(home_dir.glob("runs/slow/workflow.json")))
    watching = start("status", "slow", "--watch")
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("slow       running")
    go_on.touch()
    answer = finish(watching)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "slow: Succeeded"
    assert finish(run).code == 0


def test_watch_of_a_failed_run_leaves_as_the_run_did(argotune: Argotune, write: Write) -> None:
    file = write("workflow.yaml", workflow(shell("main", "exit 1")))
    assert argotune("run", file, "--name", "one").code == 1
    answer = argotune("status", "one", "--watch")
    assert (answer.code, answer.err) == (1, "")
    assert answer.out.splitlines()[-2:] == [
        "logs: argotune logs one",
        "go on with it: argotune run --resume one",
    ]


def test_watch_shows_the_table_again_after_each_change(
    start: Processes, argotune: Argotune, write: Write
) -> None:
    file = write("workflow.yaml", ours(GREETING))
    assert argotune("run", file).code == 0
    watching = start("status", "--watch")
    assert watching.stdout is not None
    shown = [watching.stdout.readline().split() for _ in range(2)]
    assert shown[0] == COLUMNS
    assert shown[1][0] == "greet"
    other = write("other.yaml", ours(GREETING, "other"))
    assert argotune("run", other).code == 0
    shown = [watching.stdout.readline().split() for _ in range(3)]
    assert sorted(row[0] for row in shown) == ["NAME", "greet", "other"]
    watching.send_signal(signal.SIGINT)
    assert finish(watching).code == 130
