"""No text from outside steers the terminal on which a command shows it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import yaml

from argotune.steps.common.printable import printable
from argotune.workflows.cli.console import console
from argotune.workflows.cli.show.view import LiveView
from argotune.workflows.cli.streams import printable_streams
from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.cluster_workflows import NAME, put_pod, run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_gc import add_claim
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import shell, workflow
from tests.workflows.cli.status import node, workflow_of

TITLE = "\x1b]0;owned\x07"
HOSTILE = f"{TITLE}\x9b31m\u202etxt.exe"
SHOWN = "\\u001b]0;owned\\u0007\\u009b31m\\u202etxt.exe"
# Rich leaves out the bell, which is then not shown at all.
IN_TABLES = SHOWN.replace("\\u0007", "")
_PRINTF = r"\033]0;owned\007\302\23331m\342\200\256txt.exe"


def failing() -> str:
    """A workflow whose step writes hostile text to its log and its output, and fails with it."""
    path = {"valueFrom": {"path": "/tmp/said", "default": ""}}
    script = f"printf '{_PRINTF}' | tee /tmp/said; exit 3"
    return workflow(shell("main", script, outputs={"parameters": [{"name": "said", **path}]}))


def assert_clean(text: str) -> None:
    assert text == printable(text)


def test_a_run_its_status_and_its_logs(argotune: Argotune, write: Write) -> None:
    answer = argotune("run", write("workflow.yaml", failing()), "--name", "bad")
    assert answer.code == 1
    assert answer.out.count(IN_TABLES) == len(["its step", "its message", "its output"])
    assert_clean(answer.out)
    for command in ("status", "logs"):
        answer = argotune(command, "bad")
        assert (answer.code, answer.err) == (0, "")
        assert_clean(answer.out)
    assert answer.out == f"{SHOWN}\n".replace("\\", "bad: \\", 1)


def test_records_for_programs_keep_their_values(argotune: Argotune, write: Write) -> None:
    argotune("run", write("workflow.yaml", failing()), "--name", "bad")
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        answer = argotune("status", "bad", "-o", output)
        assert_clean(answer.out)
        (only,) = load(answer.out)["status"]["nodes"].values()
        assert only["outputs"]["parameters"][0]["value"] == HOSTILE


def test_a_clusters_objects_and_logs(argotune: Argotune, cluster: Cluster) -> None:
    failed = step("tune", "Failed", message=f"Error: {HOSTILE}", outputs={"log": HOSTILE})
    cluster.put(run_of(*failed, phase="Failed", message=HOSTILE))
    answer = argotune("status", NAME, "-n", "team-a")
    assert answer.code == 0
    assert answer.out.count("\\u202etxt.exe") >= len(["of the run", "of the step"])
    assert_clean(answer.out)
    put_pod(cluster, "tune(0)", HOSTILE)
    assert argotune("logs", NAME, "-n", "team-a").out == f"tune(0): {SHOWN}\n"


def test_a_servers_refusal(argotune: Argotune, cluster: Cluster) -> None:
    cluster.faults.append(Fault("GET", "workflows", 400, message=HOSTILE, times=9))
    answer = argotune("status", "-n", "team-a")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert SHOWN in answer.errors[0]


def test_gc_names_a_hostile_run(argotune: Argotune, cluster: Cluster) -> None:
    claim = add_claim(cluster, "gone")
    for part in ("labels", "annotations"):
        values = claim["metadata"].get(part) or {}
        claim["metadata"][part] = {
            key: value.replace("workflow-of-gone", HOSTILE) for key, value in values.items()
        }
    answer = argotune("gc")
    assert answer.code == 0
    assert SHOWN in answer.out


def test_an_error_about_a_file(argotune: Argotune, tmp_path: Path) -> None:
    path = tmp_path / f"{TITLE}.yaml"
    answer = argotune("plan", path)
    assert answer.code == 2
    assert_clean(answer.err)
    assert "owned" in answer.err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, message: str) -> str:
    """What a terminal of 80 columns gets of a failed step, codes and all."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    with printable_streams(), LiveView(console()) as view:
        view.update(workflow_of(node("tune", "Failed", message=message)))
    return terminal.getvalue()


def test_on_a_terminal_argotunes_own_colours_and_movements_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = on_terminal(monkeypatch, HOSTILE)
    assert "\x1b[31m" in written, "red"
    assert "\x1b[?25l" in written, "the cursor is hidden"
    assert "\\u202etxt.exe" in written
    assert not [steer for steer in (TITLE, "\x9b", "\u202e") if steer in written]


def test_a_long_message_with_codes_is_broken_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    written = on_terminal(monkeypatch, "\u202eno " * 12)
    assert written.count("\\u202eno") == 12


def test_text_is_no_markup_and_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[red]a[/red] [/b] :bug:")
    assert capsys.readouterr().out == "[red]a[/red] [/b] :bug:\n"
