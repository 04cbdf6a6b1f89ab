"""argotune compare, of a layout with the run's report here, and of a registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from argotune.steps.contracts import adapter_image
from argotune.steps.contracts.checks import CheckResult
from argotune.steps.contracts.evaluation import Answers, Comparison, Evaluation
from argotune.steps.contracts.in_service import Event
from argotune.steps.contracts.report import DATASET, EVALUATION, PLAN, SAMPLES, Files
from argotune.steps.contracts.versions import PREVIOUS
from argotune.steps.registry import skopeo
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.registry.versions import record_in_service, repository_of
from argotune.workflows.cli.show.comparison import (
    Section,
    Side,
    comparison_page,
    sections_of,
)
from argotune.workflows.cli.show.versions import Row
from tests.fakes.adapter import write_adapter, write_tiny_plan
from tests.fakes.registry import docker_config, serving
from tests.steps.push.test_run import push
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_versions import write
from tests.workflows.cli.status import node, workflow_of

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)
HOSTILE = "<script>alert(1)</script>"


def side(title: str, files: Files, tuned: str = "1.5") -> Side:
    row = Row(
        version=title,
        states=(),
        digest=f"sha256:{64 * 'a'}",
        created="2026",
        dataset_digest="",
        base_model="tiny",
        base_revision="",
        base_loss="4.25",
        live_loss="",
        tuned_loss=tuned,
        verdict="",
        cost_usd=2.5,
        machine="NC24 spot",
        event=Event(),
        rejection=Event(),
    )
    return Side(title=title, row=row, files=files)


def section(title: str, one: Side, other: Side) -> Section:
    return next(each for each in sections_of(one, other) if each.title == title)


def samples(**answers: str) -> bytes:
    return "".join(
        json.dumps({"step": step, "prompt": prompt, "expected": None, "answer": answer}) + "\n"
        for step, kind in ((0, "early"), (9, ""))
        for prompt, answer in ((p, kind or a) for p, a in answers.items())
    ).encode()


def test_only_the_settings_that_differ_are_shown(tmp_path: Path) -> None:
    write_tiny_plan(tmp_path / "plan.yaml")
    plan = (tmp_path / "plan.yaml").read_bytes()
    changed = plan.replace(b"method: qlora", b"method: lora")
    settings = section("Settings", side("v1", {PLAN: plan}), side("v2", {PLAN: changed}))
    assert settings.rows == [("method", "qlora", "lora")]
    assert settings.note.startswith("the same: ")


def test_a_plan_that_is_not_there_is_said(tmp_path: Path) -> None:
    write_tiny_plan(tmp_path / "plan.yaml")
    plan = (tmp_path / "plan.yaml").read_bytes()
    assert section("Settings", side("v1", {PLAN: plan}), side("v2", {PLAN: b"no"})).note == (
        "no plan is known of the second"
    )


def test_counts_and_losses_stand_side_by_side() -> None:
    counts = {DATASET: json.dumps({"train_rows": 1200, "rejected_rows": 3}).encode()}
    one, other = side("v1", counts), side("v2", {}, tuned="1.25")
    assert ("cost", "<= 2.50 USD", "<= 2.50 USD") in section("Adapter", one, other).rows
    assert section("Data", one, other).rows == [
        ("rows to train", "1,200", "-"),
        ("unusable rows", "3", "-"),
    ]
    assert section("Losses", one, other).rows == [
        ("base", "4.25", "4.25"),
        ("tuned", "1.5", "1.25"),
    ]


def test_answers_to_the_same_prompts_stand_side_by_side() -> None:
    one = side("v1", {SAMPLES: samples(Who="I", When="now")})
    other = side("v2", {SAMPLES: samples(Who="you", Where="here")})
    answers = section("Answers", one, other)
    assert answers.rows == [("Who", "I", "you")]
    assert answers.note == "1 prompts were asked of both, 2 and 2 of each"


def test_what_the_evaluation_says_is_compared() -> None:
    evaluation = Evaluation(
        made_from={},
        verdict="passed",
        reason="It is better.",
        rows=40,
        tokens=900,
        new_loss=1.0,
        confidence=0.95,
        comparisons=[
            Comparison(
                against="live", loss=1.5, gain=0.5, low=0.25, high=0.75, margin=0.0, passed=True
            )
        ],
        answers=[Answers(prompt="Who", reference="you", base="", new="I", fault="looping")],
        checks=[
            CheckResult(name="names", kind="regex", score=0.9, min=1.0, passed=False, rows=20),
        ],
    )
    one = side("v1", {EVALUATION: msgspec.json.encode(evaluation)})
    other = side("v2", {EVALUATION: b"[]", SAMPLES: samples(Who="you")})
    assert section("Evaluation", one, other).rows == [
        ("verdict", "passed", "-"),
        ("reason", "It is better.", "-"),
        ("rows", "40", "-"),
        ("gain over live", "0.5 (0.25 to 0.75), passed", "-"),
        ("check names", "0.9 on 20 rows, not passed", "-"),
        ("faulty answers", "1", "-"),
    ]
    assert section("Answers", one, other).rows == [("Who", "I", "you")]


def test_the_page_escapes_what_models_and_files_say() -> None:
    one = side(HOSTILE, {SAMPLES: samples(**{HOSTILE: HOSTILE})})
    text = comparison_page(one, one)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") > 3


@pytest.fixture
def layout(tmp_path: Path, home_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions; the run of the second left its report on this machine."""
    monkeypatch.setenv("ARGOTUNE_HOME", str(home_dir))
    layout = tmp_path / "dist"
    repository = repository_of(LayoutReference(directory=layout), skopeo.Registry())
    first = write(layout, "one", **{adapter_image.WORKSPACE: "phi"})
    second = write(layout, "two", tuned="1.25")
    for digest in (first, second):
        record_in_service(repository, digest)
    reference = f"oci:{layout}@{second}"
    given = [{"name": "digest", "value": second}, {"name": "reference", "value": reference}]
    run = workflow_of(node("push", "Succeeded", outputs={"parameters": given}))
    run["metadata"] = {"name": "phi-1", "labels": {"argotune.dev/workspace": "phi"}}
    directory = home_dir / "runs" / "phi-1"
    work = directory / "claims" / "work" / "dataset"
    work.mkdir(parents=True)
    (directory / "workflow.json").write_text(json.dumps(run))
    (work / "dataset.json").write_text(json.dumps({"train_rows": 77}))
    return layout


def test_versions_of_a_workspace_are_compared_here(
    argotune: Argotune, layout: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    answer = argotune("compare", "phi:v1", "live", "--html", page)
    assert (answer.code, answer.err) == (0, "")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[0] == "ADAPTER v1 v2"
    assert f"state {PREVIOUS} live" in lines
    assert "rows to train - 77" in lines
    assert "tuned 1.5 1.25" in lines
    assert lines[-1] == f"written to {page}"
    assert "77" in page.read_text()
    both = argotune("compare", f"oci:{layout}:v1", f"oci:{layout}:v2")
    assert [" ".join(line.split()) for line in both.out.splitlines()] == lines[:-1]


def test_a_version_that_is_not_there_is_refused(argotune: Argotune, layout: Path) -> None:
    answer = argotune("compare", "phi:v1", "v9")
    assert answer.code == 2
    assert answer.errors == [f"oci:{layout} has no v9; `argotune versions` lists it"]


@needs_skopeo
def test_the_report_beside_an_adapter_is_read(
    argotune: Argotune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "docker"
    own.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(own))
    work = tmp_path / "work"
    write_adapter(work / "adapter")
    write_tiny_plan(work / "plan.yaml")
    with serving(login=True) as registry:
        (own / "config.json").write_text(docker_config(registry.host))
        result = push(work, registry)
        answer = argotune("compare", f"{registry.host}/team/phi:1", f"{result.reference}")
    assert (answer.code, answer.err) == (0, "")
    assert "the same: " in answer.out
