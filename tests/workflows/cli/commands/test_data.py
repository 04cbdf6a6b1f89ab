"""argotune data: the data of a workspace, read on this machine, and those of a run."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import argotune as python_interface
from argotune.presets.loader import model_preset
from argotune.steps.contracts.data_report import NAME, PAGE, parse_report, write_report
from argotune.steps.contracts.model_cache import Origin, cache_path, mark_complete
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.downloads import WORK, lend_downloads
from tests.fakes.http import file_server
from tests.steps.dataset.test_page import REPORT
from tests.steps.tune.models import MARKED_TEMPLATE, make_tokenizer
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import TINY, shell, workflow

ROWS = "".join(
    json.dumps({"prompt": f"Question {n}?", "completion": f"Answer {n}."}) + "\n" for n in range(40)
)


@pytest.fixture
def tokenizer(home_dir: Path) -> None:
    """The tokenizer of preset tiny in the model cache."""
    keep_tokenizer(home_dir, "tiny")


def keep_tokenizer(home_dir: Path, name: str) -> None:
    """Put a tokenizer into the model cache as that of a preset."""
    home_dir.mkdir(mode=0o700)
    preset = model_preset(name)
    directory = cache_path(Home(home_dir).models_dir, preset.repository, preset.revision)
    make_tokenizer(MARKED_TEMPLATE).save_pretrained(directory)
    shape = msgspec.to_builtins(preset.architecture).items()
    config = {key: value for key, value in shape if value is not None}
    (directory / "config.json").write_text(json.dumps({"model_type": preset.family, **config}))
    # No weights are read, but a model without any is none.
    (directory / "model.safetensors").write_bytes(b"")
    mark_complete(directory, Origin(source="hub", version=preset.revision))


@pytest.mark.usefixtures("tokenizer")
def test_data_of_a_file_are_read_and_downloaded_once(
    argotune: Argotune, write: Write, home_dir: Path, tmp_path: Path
) -> None:
    with file_server() as server:
        url = server.add("/data.jsonl", ROWS.encode())
        file = write("workspace.yaml", TINY.replace("https://example.com/data.parquet", url))
        answer = argotune("data", file, "--rows", "1", "--page", tmp_path / "page.html")
        assert answer.code == 0, answer.err
        assert answer.out.startswith("Data of my-tiny")
        assert "dataset    succeeded" in answer.err
        assert "[[Answer 0." in answer.out
        assert "written to" in answer.out
        assert "<mark>Answer 0." in (tmp_path / "page.html").read_text()
        server.requests.clear()
        again = python_interface.data(file, rows=0, show=False)
        assert [each.headers.get("Range") for each in server.requests] == ["bytes=0-0"]
    assert (again.report.rows, again.report.samples, again.problem) == (40, [], "")
    assert again.report.tokens is not None
    assert "srcdoc" in again._repr_html_()
    lend_downloads(Home(home_dir), "my-tiny", tmp_path / "run")
    assert {path.suffix for path in (tmp_path / "run" / WORK / "downloads").iterdir()} == {
        "",
        ".json",
    }


@pytest.mark.usefixtures("tokenizer")
def test_plan_reads_data_of_this_machine(argotune: Argotune, write: Write) -> None:
    rows = write("data.jsonl", ROWS)
    file = write("workspace.yaml", TINY.replace("https://example.com/data.parquet", rows.as_uri()))
    answer = argotune("plan", file)
    assert answer.code == 0
    said = [line.split() for line in answer.out.splitlines()]
    assert ["rows", "40", "35"] in [words[:3] for words in said]
    assert ["steps"] in [words[:1] for words in said]
    assert "no run here has tuned tiny by lora yet" in answer.out


def test_a_limit_of_cost_is_held_against_the_tokens_that_were_counted(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    """Without them a thousand epochs may cost any amount."""
    keep_tokenizer(home_dir, "phi-3-mini-4k-instruct")
    rows = write("data.jsonl", "".join(ROWS.replace("?", f" of {n}?") for n in range(30)))
    text = TINY.replace("https://example.com/data.parquet", rows.as_uri())
    text = text.replace("name: tiny", "name: phi-3-mini-4k-instruct")
    text = text.replace("resource:\n", f"resource:\n  instanceType: {A100}\n")
    text = text.replace("method: lora\n", "method: qlora\n  config: epochs\n")
    text = text.replace("name: my-tiny\n", f"name: my-tiny\n  annotations: {LIMITED}\n")
    file = write("workspace.yaml", f"{text}---\n{EPOCHS}")
    answer = argotune("data", file)
    assert answer.code == 2
    limit = (
        "error: metadata.annotations.argotune.dev/max-cost-usd: 0.9, but by its plan the run costs"
    )
    assert limit in answer.err
    tokens = next(
        words[1] for line in answer.out.splitlines() if (words := line.split())[:1] == ["tokens"]
    )
    assert f"HOURS, USD: of 1000 epochs of {tokens} tokens" in answer.out
    [machine] = [line for line in answer.out.splitlines() if f" {A100} " in line]
    assert machine.endswith("3.67")


A100 = "Standard_NC24ads_A100_v4"
LIMITED = '{argotune.dev/max-cost-usd: "0.9", argotune.dev/provider: aks}'
EPOCHS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: epochs}
data:
  training_config.yaml: |
    training_config:
      TrainingArguments: {num_train_epochs: 1000}
"""


def test_plan_without_the_tokenizer_says_why_it_did_not_read(
    argotune: Argotune, write: Write
) -> None:
    rows = write("data.jsonl", ROWS)
    file = write("workspace.yaml", TINY.replace("https://example.com/data.parquet", rows.as_uri()))
    answer = argotune("plan", file)
    assert answer.code == 0
    assert (
        "warning: the data were not read: preset tiny is missing in the model cache" in answer.err
    )


CLAIM = {
    "metadata": {"name": "work"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def test_data_of_a_run_are_those_that_its_dataset_step_found(
    argotune: Argotune, write: Write, tmp_path: Path
) -> None:
    write_report(tmp_path, REPORT)
    main = shell("main", f"mkdir /work/dataset; cp {tmp_path / NAME} /work/dataset")
    main["container"]["volumeMounts"] = [{"name": "work", "mountPath": "/work"}]
    file = write("workflow.yaml", workflow(main, volumeClaimTemplates=[CLAIM]))
    assert argotune("run", file, "--name", "one").code == 0
    answer = argotune("data", "one", "--output", "json", "--rows", "1")
    assert (answer.code, answer.err) == (0, "")
    assert parse_report(answer.out.encode()) == REPORT
    table = argotune("data", "one", "--rows", "9")
    assert "a.jsonl:7 <" not in table.out
    assert "e-mail addresses" in table.out
    assert "warning: --rows 9: the report of a run has 1 row\n" in table.err
    page = argotune("data", "one", "--page", tmp_path / "page.html")
    assert page.errors[0].endswith("the report of this run has no page of its data")
    assert PAGE not in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent"], "absent"),
        (["absent", "gone"], "absent: no such file; name files, or one run"),
        (["absent", "--preset", "phi-4"], "--preset: is for the file of a workspace"),
    ],
)
def test_what_is_neither_a_file_nor_a_run_is_refused(
    argotune: Argotune, arguments: list[str], said: str
) -> None:
    answer = argotune("data", *arguments)
    assert answer.code == 2
    assert said in answer.errors[0]


def test_a_file_that_is_not_there_is_no_run(argotune: Argotune) -> None:
    answer = argotune("data", "absent.yaml")
    assert (answer.code, answer.errors) == (2, ["absent.yaml: No such file or directory"])


def test_run_without_a_report_of_its_data_is_refused_by_name(
    argotune: Argotune, write: Write
) -> None:
    file = write("workflow.yaml", workflow(shell("main", "true")))
    assert argotune("run", file, "--name", "one").code == 0
    answer = argotune("data", "one")
    assert (answer.code, answer.errors) == (
        3,
        ["run one has no report of its data; its dataset step writes it"],
    )
