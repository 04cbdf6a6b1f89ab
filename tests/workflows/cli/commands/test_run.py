"""argotune run: workspaces and any Argo Workflow on this machine."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.presets.loader import model_preset
from argotune.steps.contracts.model_cache import Origin, cache_path, mark_complete
from argotune.workflows.cli.commands.run import stopped_by
from argotune.workflows.cli.home import Home
from argotune.workflows.engine.record import load_record
from tests.workflows.cli.command import Argotune, Processes, finish
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, HEAD, TINY, dag, shell, shown_duration, workflow

LOAD: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load}


def said(record: dict[str, Any]) -> str:
    """The output of a greeting."""
    node = record["status"]["nodes"][record["metadata"]["name"]]
    return str(node["outputs"]["parameters"][0]["value"])


def test_a_run_prints_its_steps_and_its_outputs(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    answer = argotune("run", write("workflow.yaml", GREETING), "--name", "greet-me")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-3:] == ["", "greet-me: Succeeded", "said:        hello"]
    node = load_record(home_dir / "runs" / "greet-me")["status"]["nodes"]["greet-me"]
    assert f"greet-me   succeeded {shown_duration(node)}" in answer.out.splitlines()


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_output_is_the_workflow_object_with_its_status(
    argotune: Argotune, write: Write, home_dir: Path, output: str
) -> None:
    answer = argotune("run", write("workflow.yaml", GREETING), "-o", output)
    assert (answer.code, answer.err) == (0, "")
    record = LOAD[output](answer.out)
    assert record["kind"] == "Workflow"
    assert record["status"]["phase"] == "Succeeded"
    assert said(record) == "hello"
    assert record == load_record(home_dir / "runs" / record["metadata"]["name"])


def test_parameters_and_entrypoint_stand_in_for_the_files(argotune: Argotune, write: Write) -> None:
    file = write("workflow.yaml", GREETING)
    record = json.loads(argotune("run", file, "-p", "word=a=b c", "-o", "json").out)
    assert said(record) == "a=b c"
    record = json.loads(argotune("run", file, "--entrypoint", "other", "-o", "json").out)
    nodes = record["status"]["nodes"].values()
    assert [node["templateName"] for node in nodes] == ["other"]


@pytest.mark.parametrize("text", ["word", "=hello", ""])
def test_a_parameter_is_name_and_value(argotune: Argotune, write: Write, text: str) -> None:
    answer = argotune("run", write("workflow.yaml", GREETING), "-p", text)
    assert (answer.code, answer.errors) == (2, [f"--parameter {text!r}: accepted is NAME=VALUE"])


def test_a_secret_is_a_name_and_a_path_that_is_there(
    argotune: Argotune, write: Write, tmp_path: Path
) -> None:
    file = write("workflow.yaml", GREETING)
    answer = argotune("run", file, "--secret", "login")
    assert (answer.code, answer.errors) == (2, ["--secret 'login': accepted is NAME=VALUE"])
    answer = argotune("run", file, "--secret", f"login={tmp_path}/nope")
    assert answer.code == 2
    assert answer.errors == [f"--secret login={tmp_path}/nope: no such file or directory"]


def test_a_secret_reaches_the_container(argotune: Argotune, write: Write, tmp_path: Path) -> None:
    (tmp_path / "login").mkdir()
    (tmp_path / "login" / "token").write_text("hunter2")
    template = shell("main", "test $TOKEN = hunter2")
    reference = {"secretKeyRef": {"name": "login", "key": "token"}}
    template["container"]["env"] = [{"name": "TOKEN", "valueFrom": reference}]
    file = write("workflow.yaml", workflow(template))
    assert argotune("run", file).code == 2
    answer = argotune("run", file, "--secret", f"login={tmp_path}/login")
    assert (answer.code, answer.err) == (0, "")


def test_a_failed_run_says_how_to_see_more_and_go_on(argotune: Argotune, write: Write) -> None:
    file = write(
        "workflow.yaml", workflow(shell("main", "echo some; echo 'error: no' >&2; exit 3"))
    )
    answer = argotune("run", file, "--name", "bad")
    assert (answer.code, answer.err) == (1, "")
    assert answer.out.splitlines()[-5:] == [
        "",
        "bad: Failed",
        "error: no",
        "logs: argotune logs bad",
        "go on with it: argotune run --resume bad",
    ]


def test_a_run_without_a_file_asks_for_one(argotune: Argotune) -> None:
    answer = argotune("run")
    assert answer.code == 2
    assert answer.errors == [
        "FILE: missing; name a Workspace or Workflow file, or say --resume",
    ]


def test_an_unsupported_field_is_refused_by_name_before_anything_starts(
    argotune: Argotune, write: Write, tmp_path: Path
) -> None:
    text = workflow(
        dag("first", "second after first"),
        shell("first", f"touch {tmp_path}/started"),
        shell("second", "true", daemon=True),
    )
    answer = argotune("run", write("workflow.yaml", text))
    assert answer.code == 2
    assert answer.errors == [
        "Workflow greet-: spec.templates[2].daemon is not supported by the local engine: run the"
        " server beside the workflow"
    ]
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("name", "where"), [("../../evil", "metadata.name"), ("Upper", "metadata.name")]
)
def test_a_name_that_is_none_makes_no_directory(
    argotune: Argotune, write: Write, tmp_path: Path, name: str, where: str
) -> None:
    head = HEAD.replace("{generateName: greet-}", f"{{name: {name}}}")
    file = write("workflow.yaml", workflow(shell("main", "true"), head=head))
    before = sorted(tmp_path.rglob("*"))
    accepted = (
        "accepted are lower-case letters, digits, '-' and '.', a letter or digit first and last"
    )
    answer = argotune("run", file)
    assert (answer.code, answer.errors) == (2, [f"{where}: {name!r}; {accepted}"])
    answer = argotune("run", file, "--name", name)
    assert (answer.code, answer.errors) == (2, [f"--name: {name!r}; {accepted}"])
    assert sorted(tmp_path.rglob("*")) == before


def test_metadata_that_is_no_map(argotune: Argotune, write: Write) -> None:
    text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: x\nspec: {}\n"
    answer = argotune("run", write("workflow.yaml", text))
    assert answer.code == 2
    assert answer.errors == ["Workflow (no name): metadata must be a map, got 'x'"]


def test_a_name_can_be_given_to_one_run_only(argotune: Argotune, write: Write) -> None:
    file = write("workflow.yaml", GREETING)
    assert argotune("run", file, "--name", "one").code == 0
    answer = argotune("run", file, "--name", "one")
    assert answer.code == 2
    assert answer.errors[0].endswith("already holds a run: resume it, or choose another directory")


def test_flags_for_a_workspace_are_refused_for_a_workflow(argotune: Argotune, write: Write) -> None:
    answer = argotune("run", write("workflow.yaml", GREETING), "--preset", "phi-4", "--url", "x")
    assert answer.code == 2
    assert answer.errors == [
        "--preset: for a Workspace, and the files hold none",
        "--url: for a Workspace, and the files hold none",
    ]


def test_a_script_that_speaks_of_a_workspace_makes_no_workspace(
    argotune: Argotune, write: Write
) -> None:
    text = GREETING + "# kind: Workspace\n---\napiVersion: v1\nkind: ConfigMap\n"
    text += "metadata: {name: other}\ndata:\n  manifest: |\n    kind: Workspace\n"
    assert argotune("run", write("workflow.yaml", text)).code == 0


def test_a_template_in_a_further_file_is_found(argotune: Argotune, write: Write) -> None:
    template = GREETING.replace("kind: Workflow", "kind: WorkflowTemplate").replace(
        "{generateName: greet-}", "{name: greeter}"
    )
    reference = HEAD + "spec: {workflowTemplateRef: {name: greeter}}\n"
    answer = argotune(
        "run", write("workflow.yaml", reference), write("t.yaml", template), "-o", "json"
    )
    assert (answer.code, answer.err) == (0, "")
    assert said(json.loads(answer.out)) == "hello"


def test_a_workspace_without_weights_names_the_command_that_makes_them(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    answer = argotune("run", write("workspace.yaml", TINY))
    assert answer.code == 3
    assert len(answer.errors) == 1
    cache_dir = home_dir / "claims" / "argotune-models"
    assert answer.errors[0].startswith(
        f"the weights of preset tiny are not in {cache_dir}/presets/argotune--tiny/"
    )
    assert answer.errors[0].endswith("; make them: argotune tiny")


def test_weights_are_looked_for_in_the_claim_that_the_workspace_names(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    text = TINY.replace(
        "  name: my-tiny\n",
        "  name: my-tiny\n  annotations: {argotune.dev/model-cache-claim: shared}\n",
        1,
    )
    answer = argotune("run", write("workspace.yaml", text))
    assert answer.errors[0].startswith(
        f"the weights of preset tiny are not in {home_dir}/claims/shared/"
    )


def test_a_home_that_is_no_directory(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("workflow.yaml", GREETING)
    monkeypatch.setenv("ARGOTUNE_HOME", str(file))
    answer = argotune("run", file, "--name", "one")
    assert (answer.code, answer.errors) == (
        3,
        [f"{file}: not a directory; name one with ARGOTUNE_HOME, or leave it unset"],
    )
    assert argotune("status").errors == answer.errors


@pytest.mark.parametrize(("limit", "file"), [(100, "documents.json"), (1500, "workflow.json")])
def test_a_disk_that_takes_nothing_more(
    start: Processes, write: Write, home_dir: Path, limit: int, file: str
) -> None:
    # Bytes of a file: as for a full disk, but for this process only.
    process = start(
        "run",
        write("workflow.yaml", GREETING),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    answer = finish(process)
    assert answer.code == 3
    (problem,) = answer.errors
    path, _, reason = problem.partition(": ")
    assert (Path(path).name, reason) == (file, "File too large")
    assert Path(path).parents[1] == home_dir / "runs"
    assert list((home_dir / "runs").iterdir()) == [], "nothing half-made is left"


def test_a_disk_that_takes_no_secrets_of_a_workspace(
    start: Processes, write: Write, home_dir: Path
) -> None:
    tiny = model_preset("tiny")
    weights = cache_path(Home(home_dir).models_dir, tiny.repository, tiny.revision)
    weights.mkdir(parents=True)
    mark_complete(weights, Origin(source="made", version=tiny.revision))
    process = start(
        "run",
        write("workspace.yaml", TINY),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1)),
    )
    answer = finish(process)
    assert answer.code == 3
    assert re.fullmatch(r".*/secrets/from-environment.json: File too large", answer.errors[0])
    assert list((home_dir / "runs").iterdir()) == []


def test_two_runs_at_once_do_not_disturb_each_other(
    start: Processes, write: Write, home_dir: Path
) -> None:
    script = "echo {{workflow.parameters.word}} > /tmp/word; sleep 0.3; test -s /tmp/word"
    text = GREETING.replace("echo {{workflow.parameters.word}} > /tmp/word", script)
    file = write("workflow.yaml", text)
    processes = [start("run", file, "-p", f"word={word}", "-o", "json") for word in ("a", "b")]
    answers = [finish(process) for process in processes]
    assert [(answer.code, answer.err) for answer in answers] == [(0, ""), (0, "")]
    assert [said(json.loads(answer.out)) for answer in answers] == ["a", "b"]
    assert len(list(home_dir.glob("runs/*/workflow.json"))) == 2


def test_a_missing_container_runtime(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("workflow.yaml", GREETING)
    monkeypatch.setenv("PATH", "/nonexistent")
    answer = argotune("run", file, "--runtime", "podman")
    assert answer.code == 2
    assert answer.errors == ["--runtime podman: podman does not exist on this machine: install it"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (
            errno.ENOSPC,
            "run one has stopped: /x: No space left on device; free some space first, then go on"
            " with it: argotune run --resume one",
        ),
        (
            errno.EIO,
            "run one has stopped: /x: Input/output error; go on with it: argotune run --resume one",
        ),
    ],
)
def test_what_the_system_has_ended_says_how_to_go_on(number: int, text: str) -> None:
    assert stopped_by(OSError(number, os.strerror(number), "/x"), "one") == text


def test_a_disk_that_is_full_in_mid_run(start: Processes, write: Write, home_dir: Path) -> None:
    text = GREETING.replace(
        "echo {{workflow.parameters.word}}", "head -c 3900 /dev/zero | tr '\\\\0' x"
    )
    process = start(
        "run",
        write("workflow.yaml", text),
        "--name",
        "one",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
    )
    answer = finish(process)
    assert answer.code == 3
    record = home_dir / "runs" / "one" / "workflow.json"
    assert answer.errors == [
        f"run one has stopped: {record}: File too large; go on with it: argotune run --resume one"
    ]
