"""argotune evaluate: what it refuses before it measures, and what it prints."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from argotune.steps.contracts.checks import CheckResult, Example
from argotune.steps.contracts.side_by_side import Difference, Measured, Question, SideBySide
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import repository_of
from argotune.workflows.cli.evaluation_input import Place, read_asked
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.evaluate import this_machine
from argotune.workflows.cli.show.side_by_side import print_side_by_side, side_by_side_page
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_compare import layout

__all__ = ["layout"]

EXAMPLE = Example(prompt="Q", reference="42", answer="41", score=0.0, reason="it is not 42")
FOUND = SideBySide(
    base="argotune/tiny@0",
    rows=1200,
    tokens=34_567,
    confidence=0.95,
    questions=[Question(prompt="What is [b]x[/b]?", reference="42")],
    models=[
        Measured(
            name="tiny",
            adapter="",
            loss=4.5,
            answers=["41"],
            checks=[
                CheckResult(
                    name="same",
                    kind="exact_match",
                    score=0.25,
                    min=0.9,
                    passed=False,
                    rows=4,
                    examples=[EXAMPLE],
                )
            ],
        ),
        Measured(
            name="python-docs",
            adapter="oci:dist@sha256:1",
            loss=1.25,
            difference=Difference(gain=3.25, low=3.0, high=3.5),
            answers=["42"],
            checks=[
                CheckResult(
                    name="same", kind="exact_match", score=1.0, min=0.9, passed=True, rows=4
                )
            ],
        ),
    ],
)


def test_losses_differences_checks_and_answers_are_beside_each_other() -> None:
    screen = Console(file=io.StringIO(), width=120)
    print_side_by_side(screen, FOUND)
    assert isinstance(screen.file, io.StringIO)
    assert [line.rstrip() for line in screen.file.getvalue().splitlines()] == [
        "argotune/tiny@0 on 1,200 rows with 34,567 learned tokens",
        "MODEL        LOSS    BETTER BY                     same",
        "tiny         4.5000                                0.25 below 0.9",
        "python-docs  1.2500  +3.2500 (+3.0000 to +3.5000)  1.00 passed",
        "better: loss below that of tiny, nats per token, with its 95% interval",
        "",
        "tiny does not pass same: it is not 42",
        "  prompt:    Q",
        "  reference: 42",
        "  answer:    41",
        "",
        "What is [b]x[/b]?",
        "  reference:   42",
        "  tiny:        41",
        "  python-docs: 42",
    ]


def test_the_page_has_the_same_and_texts_are_escaped() -> None:
    found = side_by_side_page(FOUND)
    for text in (
        "<h1>Evaluation of tiny, python-docs</h1>",
        "+3.2500 (+3.0000 to +3.5000)",
        "0.25 below 0.9",
        "oci:dist@sha256:1",
        "What is [b]x[/b]?",
        "it is not 42",
    ):
        assert text in found
    question = Question(prompt="<script>", reference="42")
    assert "<script>" not in side_by_side_page(msgspec.structs.replace(FOUND, questions=[question]))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a user, some of them wrong, in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARGOTUNE_HOME", str(tmp_path / "home"))
    Path("rows.jsonl").write_text("{}")
    Path("c.yaml").write_text("- {kind: regex, pattern: (}\n")
    Path("f.yaml").write_text("- {kind: lm_eval, tasks: [hellaswag], min: 0.5}\n")
    Path("d.yaml").write_text("training_config: {Argotune: [checks]}\n")
    Path("e.yaml").write_text("training_config: {Argotune: {checks: [{kind: exact_match}]}}\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["tiny", "tiny"], "tiny is given twice"),
        (["file.yaml"], "file.yaml: a file; name the workspace in it, its preset or the image of"),
        (["phi:2"], "no version of one, which would be NAME:vN or NAME:live, and no image, which"),
        (["phi:v2"], "'phi': no run or workspace of this name"),
        (["phi4"], "phi4: no preset (did you mean phi-4?), no workspace with a service of this"),
        (["registry.example.com/UP:1"], "'UP' is not a component of a repository name"),
        (["tiny", "--data", "ftp://a.example/x"], "--data ftp://a.example/x: accepted are"),
        (["tiny", "--data", "/nope"], "--data /nope: /nope: no such file or directory"),
        (["tiny", "--checks", "c.yaml"], "c.yaml[0].pattern: '('"),
        (["tiny", "--checks", "f.yaml"], "f.yaml[0].kind: 'lm_eval' is measured in a run alone"),
        (["tiny", "--config", "c.yaml"], "one root key, training"),
        (["tiny", "--config", "d.yaml"], "and mappings in it"),
        (["tiny", "--checks", "no.yaml"], "no.yaml: No such file"),
        (["tiny", "--html", "no/page.html"], "--html no/page.html: there is no directory no"),
        (["tiny", "--checks", "c.yaml", "--config", "e.yaml"], "e.yaml has checks too; keep one"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_fetched(
    arguments: list[str], problem: str, argotune: Argotune
) -> None:
    answer = argotune("evaluate", *arguments, "--data", "rows.jsonl")
    assert answer.code == 2
    [said] = answer.errors
    assert problem in said


@pytest.mark.usefixtures("files")
def test_all_problems_are_said_at_once(argotune: Argotune) -> None:
    wrong = ["nothing", "x//y", "--data", "/nope", "--checks", "c.yaml", "--config", "d.yaml"]
    answer = argotune("evaluate", *wrong)
    assert answer.code == 2
    assert [said.removeprefix("error: ").partition(" ")[0] for said in answer.errors] == [
        "nothing:",
        "'x//y':",
        "--data",
        "d.yaml:",
        "c.yaml[0].pattern:",
    ]


@pytest.mark.parametrize("name", ["oci:./adapter:v1", "oci:c:v1", "oci:a//b:v1"])
def test_a_directory_is_named_from_the_root_for_the_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = Path(name.removeprefix("oci:").removesuffix(":v1"))
    here = Place(
        title="this machine",
        is_here=True,
        find_service=lambda _: None,
        find_version=lambda *_: "",
        find_preset=lambda _: None,
    )
    found = read_asked([name], ["https://acme.example/rows.jsonl"], None, None, here)
    assert found.models == (f"oci:{tmp_path / directory}:v1",)


def test_a_version_is_found_by_its_number_or_state(
    layout: Path, home_dir: Path, argotune: Argotune
) -> None:
    repository = repository_of(LayoutReference(directory=layout), Registry())
    digests = {tag: found.digest for tag in ("v1", "v2") if (found := repository.find(tag))}
    names = ["phi:v1", "phi:previous", "phi:v2", "phi:live"]
    found = read_asked(
        names, ["https://acme.example/rows.jsonl"], None, None, this_machine(Home(home_dir))
    )
    assert found.models == tuple(
        f"{name}=oci:{layout}@{digests[tag]}"
        for name, tag in zip(names, ("v1", "v1", "v2", "v2"), strict=True)
    )
    rows = layout.parent / "rows.jsonl"
    rows.write_text("{}")
    answer = argotune("evaluate", "phi:v1", "phi:v9", "phi:candidate", "--data", rows)
    assert answer.code == 2
    assert [said.removeprefix("error: ") for said in answer.errors] == [
        f"{tag!r}: oci:{layout} has no such version; `argotune versions phi` lists what there is"
        for tag in ("v9", "candidate")
    ]
