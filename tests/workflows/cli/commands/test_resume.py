"""argotune run --resume, and what stops a run before: Ctrl-C, `argotune stop`, a failure."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
from pathlib import Path

import pytest

from argotune.steps.contracts.services import process_started
from argotune.workflows.cli.show.workflow_json import WORKSPACE_LABEL
from tests.workflows.cli.command import Argotune, Processes, finish, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, HEAD, TINY, dag, shell, workflow
from tests.workflows.engine.killing import kill_with_watchdog


@pytest.fixture
def failing(write: Write, tmp_path: Path) -> Path:
    """A workflow whose second step fails until the file `mended` is there; `once` and `twice`
    get a line each time a step starts."""
    text = workflow(
        dag("first", "second after first"),
        shell("first", f"echo x >> {tmp_path}/once"),
        shell("second", f"echo x >> {tmp_path}/twice; test -e {tmp_path}/mended"),
    )
    return write("failing.yaml", text)


@pytest.fixture
def sleeping(write: Write, tmp_path: Path) -> Path:
    """A workflow whose second step writes its process's id to `pid` and sleeps until the file
    `mended` is there."""
    script = f"test -e {tmp_path}/mended && exit; echo $$$$ > {tmp_path}/pid; exec sleep 100"
    text = workflow(
        dag("first", "second after first", "third after second"),
        shell("first", f"echo x >> {tmp_path}/once"),
        shell("second", script),
        shell("third", f"touch {tmp_path}/end"),
        shell("bye", f"echo {{{{workflow.status}}}} > {tmp_path}/bye"),
        onExit="bye",
    )
    return write("sleeping.yaml", text)


def started(start: Processes, tmp_path: Path, file: Path) -> tuple[subprocess.Popen[str], int]:
    """The run of a sleeping workflow, and the process that sleeps."""
    process = start("run", file)
    pid_file = tmp_path / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    return process, int(pid_file.read_text())


def is_running(pid: int) -> bool:
    return process_started(pid) is not None


def test_resume_goes_on_from_the_first_step_that_did_not_finish(
    argotune: Argotune, failing: Path, tmp_path: Path
) -> None:
    assert argotune("run", failing).code == 1
    (tmp_path / "mended").touch()
    answer = argotune("run", "--resume")
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "once").read_text() == "x\n"
    assert (tmp_path / "twice").read_text() == "x\nx\n"


@pytest.mark.parametrize("name", ["one", "greet", "FILE"])
def test_resume_by_the_name_of_run_workflow_or_file(
    argotune: Argotune, failing: Path, tmp_path: Path, name: str
) -> None:
    named = ["--name", "one"] if name == "one" else []
    assert argotune("run", failing, *named).code == 1
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume", failing if name == "FILE" else name).code == 0


def test_resume_by_the_file_of_a_workflow_with_a_name_of_its_own(
    argotune: Argotune, failing: Path, tmp_path: Path
) -> None:
    failing.write_text(failing.read_text().replace("{generateName: greet-}", "{name: hello}"))
    assert argotune("run", failing).code == 1
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume", failing).code == 0
    assert argotune("run", failing).code == 0, "the name is free for a further run"


def test_resume_that_fails_again_can_be_resumed_again(
    argotune: Argotune, failing: Path, tmp_path: Path
) -> None:
    assert argotune("run", failing).code == 1
    assert argotune("run", "--resume").code == 1
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume").code == 0
    assert (tmp_path / "twice").read_text() == "x\nx\nx\n"


def test_there_may_be_nothing_to_resume(argotune: Argotune, write: Write) -> None:
    answer = argotune("run", "--resume")
    assert answer.code == 2
    assert answer.errors == [
        "nothing to resume: no workspace's newest run was interrupted or failed"
    ]
    answer = argotune("run", "--resume", "greet")
    assert answer.code == 2
    assert answer.errors == [
        "'greet': no run or workspace of this name on this machine; nothing was run yet"
    ]
    assert argotune("run", write("workflow.yaml", GREETING), "--name", "one").code == 0
    answer = argotune("run", "--resume", "greet")
    assert answer.code == 2
    assert answer.errors == ["nothing to resume: one is Succeeded"]
    answer = argotune("run", "--resume", write("workspace.yaml", TINY))
    assert answer.errors == [
        "'my-tiny': no run or workspace of this name on this machine; there are greet"
    ]


@pytest.fixture
def superseded(argotune: Argotune, failing: Path, tmp_path: Path) -> str:
    """The name of a failed run, whose workspace has a newer one that succeeded; both are named."""
    assert argotune("run", failing, "--name", "old").code == 1
    (tmp_path / "mended").touch()
    assert argotune("run", failing, "--name", "new").code == 0
    return "old"


def test_the_name_of_a_workspace_never_means_an_older_run(
    argotune: Argotune, superseded: str
) -> None:
    answer = argotune("run", "--resume", "greet")
    assert answer.code == 2
    assert answer.errors == [
        "nothing to resume: new is Succeeded; older runs go on by their own names: old"
    ]
    answer = argotune("run", "--resume")
    assert answer.code == 2
    assert answer.errors == [
        "nothing to resume: no workspace's newest run was interrupted or failed"
    ]
    assert argotune("status", "greet").out.startswith("new: Succeeded\n")


def test_an_older_run_goes_on_by_its_own_name_with_a_warning(
    argotune: Argotune, superseded: str
) -> None:
    answer = argotune("run", "--resume", "old")
    assert answer.code == 0
    assert answer.err == (
        "warning: new of the same workspace is newer (Succeeded); what old deploys replaces what"
        " that one deployed\n"
    )


def test_the_names_of_runs_and_workspaces_are_kept_apart(
    argotune: Argotune, superseded: str, write: Write
) -> None:
    file = write("workflow.yaml", GREETING)
    answer = argotune("run", file, "--name", "greet")
    assert (answer.code, answer.errors) == (
        2,
        ["--name: 'greet' is a workspace's name, which means its newest run; take another"],
    )
    file.write_text(GREETING.replace("greet-", "old-"))
    answer = argotune("run", file)
    assert (answer.code, answer.errors) == (
        2,
        [
            "metadata.name: 'old' is the name of a run on this machine; take another, or delete"
            " that run: argotune rm old"
        ],
    )
    answer = argotune("run", write("workspace.yaml", TINY), "--name", "old")
    assert answer.errors[0].startswith("metadata.name: 'old' is the name of a run")


def test_stop_means_the_newest_run_and_names_the_older_that_go_on(
    start: Processes, argotune: Argotune, sleeping: Path, tmp_path: Path
) -> None:
    process, _ = started(start, tmp_path, sleeping)
    older = argotune("status", "greet").out.partition(":")[0]
    assert argotune("run", sleeping, "--entrypoint", "first", "--name", "new").code == 0
    answer = argotune("stop", "greet")
    assert (answer.code, answer.errors) == (
        2,
        [
            "'greet': no run or service of this name is running; an older run goes on:"
            f" argotune stop {older}"
        ],
    )
    assert argotune("stop", older).code == 0
    assert finish(process).code == 130


def test_resume_takes_one_name(argotune: Argotune) -> None:
    answer = argotune("run", "--resume", "a", "b")
    assert (answer.code, answer.errors) == (2, ["--resume a b: accepted is one name, or files"])


def test_ctrl_c_ends_the_children_and_resume_finishes(
    start: Processes, argotune: Argotune, sleeping: Path, tmp_path: Path
) -> None:
    process, pid = started(start, tmp_path, sleeping)
    process.send_signal(signal.SIGINT)
    answer = finish(process)
    assert (answer.code, answer.err) == (130, "")
    lines = answer.out.splitlines()
    said = "stopping: the steps get time to save their work; Ctrl-C once more kills them at once"
    assert said in lines
    assert [line.split()[:2] for line in lines if line.startswith("second ")][-1][1] == "stopped"
    assert any(line.startswith("greet-") and line.endswith(": Stopped") for line in lines)
    assert "go on with it: argotune run --resume greet-" in answer.out
    assert argotune("status", "greet").out.splitlines()[0].endswith(": Stopped")
    assert argotune("status", "greet", "--watch").code == 130
    assert not is_running(pid)
    assert (tmp_path / "bye").read_text() == "Failed\n"
    assert not (tmp_path / "end").exists()
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume").code == 0
    assert (tmp_path / "once").read_text() == "x\n"
    assert (tmp_path / "end").exists()
    assert (tmp_path / "bye").read_text() == "Succeeded\n"


def test_a_second_ctrl_c_kills_at_once(start: Processes, write: Write, tmp_path: Path) -> None:
    trap = f"trap 'echo >> {tmp_path}/told' TERM; echo $$$$ > {tmp_path}/pid"
    script = f"{trap}; while true; do sleep 0.1; done"
    text = workflow(shell("second", script), entrypoint="second")
    process, pid = started(start, tmp_path, write("stubborn.yaml", text))
    process.send_signal(signal.SIGINT)
    wait_until((tmp_path / "told").exists)
    process.send_signal(signal.SIGINT)
    answer = finish(process)
    assert (answer.code, answer.err) == (130, "")
    assert "killing the steps" in answer.out.splitlines()
    assert not is_running(pid)


def test_stop_from_another_process(
    start: Processes, argotune: Argotune, sleeping: Path, tmp_path: Path
) -> None:
    process, pid = started(start, tmp_path, sleeping)
    assert argotune("status", "greet").out.startswith("greet-")
    answer = argotune("stop", "greet")
    assert (answer.code, answer.err) == (0, "")
    assert ": asked to stop, and a second time kills its steps at once; " in answer.out
    assert finish(process).code == 130
    assert not is_running(pid)
    assert argotune("stop", "greet").errors == [
        "'greet': no run or service of this name is running"
    ]


def test_a_killed_run_is_interrupted_and_can_be_resumed(
    start: Processes, argotune: Argotune, sleeping: Path, tmp_path: Path
) -> None:
    process, pid = started(start, tmp_path, sleeping)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    assert argotune("status", "greet").out.splitlines()[0].endswith(": Interrupted")
    wait_until(lambda: not is_running(pid))
    assert argotune("stop", "greet").errors == [
        "'greet': no run or service of this name is running"
    ]
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume").code == 0


@pytest.mark.parametrize("name", ["greet", "--all"])
def test_what_a_killed_run_has_left_is_shown_and_stopped(
    start: Processes, argotune: Argotune, sleeping: Path, tmp_path: Path, name: str
) -> None:
    process, pid = started(start, tmp_path, sleeping)
    wait_until(lambda: "second" in argotune("status", "greet").out)
    kill_with_watchdog(process)
    phase, left = argotune("status", "greet").out.splitlines()[:2]
    run = phase.removesuffix(": Interrupted")
    assert left == (
        f"second goes on without its engine as process {pid}; `argotune stop {run}` ends it"
    )
    answer = argotune("stop", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        f"run {run}: its engine was killed, and what it had left is ended: second (process {pid}); "
        f"`argotune run --resume {run}` goes on with it\n"
    )
    assert not is_running(pid)
    assert "goes on without" not in argotune("status", "greet").out
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume").code == 0


def test_a_run_that_goes_on_cannot_be_resumed(
    start: Processes, argotune: Argotune, sleeping: Path, tmp_path: Path
) -> None:
    process, _ = started(start, tmp_path, sleeping)
    answer = argotune("run", "--resume", "greet")
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert answer.errors[0].endswith(" is Running")
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130


def test_resume_lets_a_suspended_run_go_on(
    start: Processes, argotune: Argotune, write: Write, home_dir: Path, tmp_path: Path
) -> None:
    text = workflow(
        dag("wait", "end after wait"),
        {"name": "wait", "suspend": {}},
        shell("end", f"touch {tmp_path}/end"),
        head=HEAD,
    )
    process = start("run", write("workflow.yaml", text), "--name", "one")
    record = home_dir / "runs" / "one" / "workflow.json"
    wait_until(lambda: record.exists() and "suspended" in argotune("status", "one").out)
    advice = "one is suspended; to let it go on: argotune run --resume one\n"
    assert advice in argotune("status", "one").out
    answer = argotune("run", "--resume", "one")
    assert (answer.code, answer.out) == (0, "run one: asked to go on\n")
    ran = finish(process)
    assert (ran.code, ran.out.count(advice)) == (0, 1)
    assert (tmp_path / "end").exists()


DOCKER = """#!/bin/sh
# Stands in for docker: keeps its calls; containers fail until the file `mended` is there.
echo "$1" >> "{0}/calls"
test "$1" != run || test -e "{0}/mended"
"""


@pytest.mark.parametrize(("flags", "runs"), [((), 2), (("--runtime", "process"), 1)])
def test_resume_keeps_the_runtime_unless_another_is_asked_for(
    argotune: Argotune,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    runs: int,
) -> None:
    write("docker", DOCKER.format(tmp_path)).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    file = write("workflow.yaml", workflow(shell("main", "true")))
    assert argotune("run", file, "--name", "one", "--runtime", "docker").code == 1
    (tmp_path / "mended").touch()
    assert argotune("run", "--resume", "one", *flags).code == 0
    assert (tmp_path / "calls").read_text().splitlines().count("run") == runs


def test_a_second_run_of_a_workspace_is_warned_of_the_first(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    directory = home_dir / "runs" / "first"
    directory.mkdir(parents=True)
    metadata = {"name": "first", "labels": {WORKSPACE_LABEL: "my-tiny"}}
    record = {"kind": "Workflow", "metadata": metadata, "status": {"phase": "Running"}}
    (directory / "workflow.json").write_text(json.dumps(record))
    file = write("workspace.yaml", TINY)
    warning = (
        "warning: first of the same workspace goes on; each replaces the service my-tiny when it"
        " deploys; give one another --name, or stop the other: argotune stop first"
    )
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert warning in argotune("run", file).err.splitlines()
        assert warning not in argotune("run", file, "--name", "other").err
    assert warning not in argotune("run", file).err, "its engine is gone"
