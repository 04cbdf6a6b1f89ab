"""Completion of names by a shell, and by kubectl."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argotune.workflows.cli.home import Home
from argotune.workflows.cli.main import complete_for_kubectl
from tests.fakes.api_server import ARGO, ApiServer, serving
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.kubeconfig import use_kubeconfig
from tests.workflows.cli.local.test_approval import record

SPACE = "team-a"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    """A namespace with a run of workspace docs."""
    server = ApiServer()
    labels = {"argotune.dev/workspace": "docs"}
    server.objects[f"{ARGO}/namespaces/{SPACE}/workflows/docs-abcde"] = {
        "kind": "Workflow",
        "metadata": {
            "name": "docs-abcde",
            "namespace": SPACE,
            "labels": labels,
            "creationTimestamp": "2026-11-29T14:00:00Z",
        },
    }
    with serving(server):
        use_kubeconfig(monkeypatch, tmp_path, server.url)
        yield server


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    return Complete(monkeypatch, capsys)


class Complete:
    """The completions of arguments, of which the last is incomplete, as kubectl asks for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> list[str]:
        for variable in ("_ARGOTUNE_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
            # Set by the program; taken away again at the end of the test.
            self._monkeypatch.setenv(variable, "")
        self._monkeypatch.setattr(sys, "argv", ["kubectl_complete-argotune", *arguments])
        with pytest.raises(SystemExit):
            complete_for_kubectl()
        done = self._capsys.readouterr()
        assert done.err == ""
        # typer ends nothing with an empty line, which shells pass over.
        return done.out.split()


def test_commands_are_completed(complete: Complete) -> None:
    assert complete("sta") == ["status", "start"]


def test_names_of_a_cluster_are_those_of_runs_and_workspaces(
    cluster: ApiServer, complete: Complete
) -> None:
    for command in ("status", "logs", "stop", "chat", "approve", "report"):
        assert complete(command, "-n", SPACE, "d") == ["docs", "docs-abcde"], command
    assert complete("logs", "-n", SPACE, "docs-") == ["docs-abcde"]
    assert complete("logs", "-n", SPACE, "other") == []


def test_names_of_this_machine_are_completed_without_a_cluster(
    argotune: Argotune, complete: Complete, home_dir: Path
) -> None:
    record(Home(home_dir), "mine-a", "2026-01-01T00:00:00Z", "Succeeded", waits=False)
    assert complete("logs", "") == ["mine", "mine-a"]


def test_names_of_schedules_are_those_of_the_cluster(
    cluster: ApiServer, complete: Complete
) -> None:
    cluster.objects[f"{ARGO}/namespaces/{SPACE}/cronworkflows/retrain-docs"] = {
        "kind": "CronWorkflow",
        "metadata": {"name": "retrain-docs", "namespace": SPACE},
        "spec": {
            "schedules": ["0 3 * * 1"],
            "workflowSpec": {"workflowTemplateRef": {"name": "finetune"}},
        },
    }
    assert complete("pause", "-n", SPACE, "") == ["retrain-docs"]


def test_a_cluster_that_refuses_completes_nothing_and_says_nothing(
    cluster: ApiServer, complete: Complete
) -> None:
    cluster.forbidden = {"list workflows", "list cronworkflows"}
    assert complete("logs", "-n", SPACE, "") == []
    assert complete("pause", "-n", SPACE, "") == []


@pytest.mark.parametrize(
    ("program", "shown"),
    [("kubectl-argotune", "kubectl argotune"), ("/usr/bin/argotune", "argotune")],
)
def test_the_usage_names_the_plugin_as_it_is_called(
    argotune: Argotune, monkeypatch: pytest.MonkeyPatch, program: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert f"Usage: {shown} status" in argotune("status", "--help").out


def test_the_script_of_the_plugin_is_that_of_the_command(
    argotune: Argotune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl-argotune"])
    # Else typer looks which shell has started the tests, and there may be none.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    answer = argotune("--show-completion", "bash")
    assert answer.out.rstrip().endswith("-F _argotune_completion argotune")
