"""The question before the first run of a workflow that is no workspace's."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.agreement import agree
from argotune.workflows.cli.main import main
from tests.workflows.cli.command import Argotune, environment
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING

ASKED = (
    "this workflow is no Workspace: its steps run as processes of this machine with your rights,"
    " and their images are not used"
)


def answered(file: Path, answer: str) -> tuple[int, str]:
    """The exit code and stderr of a run whose user answers at a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "argotune.workflows.cli", "run", str(file)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    os.write(ours, f"{answer}\n".encode())
    _, said = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return process.returncode, said


def test_without_a_terminal_it_is_refused_until_it_was_agreed_to(
    argotune: Argotune,
    write: Write,
    capsys: pytest.CaptureFixture[str],
    home_dir: Path,
) -> None:
    file = str(write("workflow.yaml", GREETING))
    with pytest.raises(SystemExit) as exited:
        main(["run", file])
    assert exited.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {ASKED}; look at it and say --yes, or --runtime docker or podman runs them in"
        " containers\n"
    )
    assert not (home_dir / "runs").exists()
    assert argotune("run", file).code == 0
    with pytest.raises(SystemExit) as exited:
        main(["run", file])
    assert exited.value.code == 0
    Path(file).write_text(GREETING.replace("hello", "good-bye"))
    with pytest.raises(SystemExit) as exited:
        main(["run", file])
    assert exited.value.code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "workflow.yaml: empty; accepted is a Workspace or an Argo Workflow"),
        ("kind: ConfigMap", "there is nothing to run: expected a Workflow, a CronWorkflow or a"),
        (GREETING.replace('"container"', '"gpuBox"'), "gpuBox"),
    ],
)
def test_nobody_is_asked_about_what_cannot_run(
    write: Write, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["run", str(write("workflow.yaml", text))])
    error = capsys.readouterr().err
    assert exited.value.code == 2
    assert said in error
    assert ASKED not in error


@pytest.mark.parametrize(("answer", "code"), [("n", 130), ("y", 0)])
def test_at_a_terminal_it_is_asked(write: Write, answer: str, code: int) -> None:
    exit_code, said = answered(write("workflow.yaml", GREETING), answer)
    assert exit_code == code
    assert ASKED in said
    assert "Run it? [y/N]" in said


def test_runs_that_start_together_all_keep_what_was_agreed(home_dir: Path) -> None:
    texts = [[("workflow.yaml", f"{GREETING}# {number}\n")] for number in range(24)]
    here = Home(home_dir)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda each: agree(here, each, yes=True), texts))
    for each in texts:
        agree(here, each, yes=False)
