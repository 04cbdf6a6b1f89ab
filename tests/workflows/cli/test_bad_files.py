"""Files that are none, and what each command says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, TINY

TAKE_FILES = ("plan", "render", "submit", "run")
BROKEN_YAML = "line 2, column 1: while parsing a flow node, did not find expected node content"


@pytest.mark.parametrize("command", TAKE_FILES)
def test_every_file_that_cannot_be_read_is_named(
    argotune: Argotune, command: str, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\x7fELF\xff\xfe")
    names = [tmp_path / "missing.yaml", tmp_path, tmp_path / "binary"]
    answer = argotune(command, *names)
    assert answer.code == 2
    assert answer.errors == [
        f"{tmp_path}/missing.yaml: No such file or directory",
        f"{tmp_path}: Is a directory",
        f"{tmp_path}/binary: not a text file",
    ]


@pytest.mark.parametrize("command", TAKE_FILES)
def test_broken_yaml(argotune: Argotune, command: str, write: Write) -> None:
    file = write("broken.yaml", "a: [")
    answer = argotune(command, file)
    assert (answer.code, answer.errors) == (2, [f"{file}: {BROKEN_YAML}"])


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
@pytest.mark.parametrize("command", ["plan", "render", "submit"])
def test_a_file_without_documents_holds_no_workspace(
    argotune: Argotune, command: str, text: str, write: Write
) -> None:
    file = write("empty.yaml", text)
    answer = argotune(command, file)
    assert (answer.code, answer.errors) == (2, [f"{file}: no Workspace; one is expected"])


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_there_is_nothing_to_run_in_a_file_without_documents(
    argotune: Argotune, text: str, write: Write
) -> None:
    file = write("empty.yaml", text)
    answer = argotune("run", file)
    assert answer.code == 2
    assert answer.errors == [f"{file}: empty; accepted is a Workspace or an Argo Workflow"]


@pytest.mark.parametrize("command", ["plan", "render", "submit"])
def test_a_workflow_is_no_workspace(argotune: Argotune, command: str, write: Write) -> None:
    file = write("workflow.yaml", GREETING)
    answer = argotune(command, file)
    assert answer.code == 2
    assert f"{file}: line 1" in answer.errors[0]
    assert "Workflow" in answer.errors[0]


@pytest.mark.parametrize("command", TAKE_FILES)
def test_an_unknown_preset_names_the_near_one(
    argotune: Argotune, command: str, write: Write
) -> None:
    answer = argotune(command, write("workspace.yaml", TINY.replace("name: tiny", "name: tinny")))
    assert answer.code == 2
    assert len(answer.errors) == 1 + (command == "submit"), "its output is no place for pods"
    assert answer.errors[0].startswith("tuning.preset.name: 'tinny'")
    assert "tiny" in answer.errors[0].replace("tinny", "")


@pytest.mark.parametrize("command", TAKE_FILES)
def test_all_mistakes_of_a_workspace_come_in_one_answer(
    argotune: Argotune, command: str, write: Write
) -> None:
    text = TINY.replace("method: lora", "method: full").replace("https://", "ftp://")
    answer = argotune(command, write("workspace.yaml", text), "--preset", "nope")
    assert answer.code == 2
    assert [error.partition(":")[0] for error in answer.errors] == [
        "--preset",
        "tuning.method",
        "tuning.input.urls[0]",
        *["tuning.output.image"] * (command == "submit"),
    ]


def test_standard_input_is_a_file_too(
    argotune: Argotune, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    with write("workspace.yaml", TINY).open() as file:
        monkeypatch.setattr("sys.stdin", file)
        answer = argotune("plan", "-")
    assert answer.code == 0
    assert "Plan of my-tiny" in answer.out
