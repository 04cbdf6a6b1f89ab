"""The READMEs tell the truth: files, commands, outputs, messages and decisions are as they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from argotune.workflows.cli.main import COMMANDS
from argotune.workflows.demo.__main__ import _ASKED
from argotune.workflows.templates.golden import page_with_graph
from argotune.workflows.workspace.manifests import read_rendered
from argotune.workflows.workspace.reference import README as REFERENCE
from argotune.workflows.workspace.reference import reference
from tests.messages import characters_said, is_said
from tests.transcripts import PAGES, ROOT, commands_of, recorded_blocks, shell, written

README = (ROOT / "README.md").read_text()
FINETUNE = read_rendered("finetune")[0]["spec"]
_LONGEST_README = 250
_LARGEST_PICTURE_BYTES = 300_000
_LEAST_SAID = 12
"""Characters of a line of output that the source has to say; the rest are names and values."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def of(pages: dict[Path, list[str]]) -> list[object]:
    """A parameter for each text, named by its page and number."""
    return [
        pytest.param(text, id=f"{name_of(page)}-{number}")
        for page, texts in pages.items()
        for number, text in enumerate(texts)
    ]


def test_there_are_pages() -> None:
    names = {name_of(page) for page in PAGES}
    assert names >= {"README.md", "workflows/cli/README.md", "steps/nodes/aks/README.md"}


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= _LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text())
    assert [link for link in links if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    if not heading or not target.exists():
        return target.exists()
    titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
    return heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


def test_the_pictures_are_small_enough_for_a_first_visit() -> None:
    pictures = [ROOT / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)]
    assert pictures
    assert all(picture.stat().st_size < _LARGEST_PICTURE_BYTES for picture in pictures)


@pytest.mark.parametrize(
    ("page", "file"),
    [("README.md", "dolly.yaml"), ("workflows/cli/README.md", "workspace.yaml")],
)
def test_a_workspace_that_a_page_shows_is_the_one_of_the_demo(page: str, file: str) -> None:
    lines = (ROOT / "workflows" / "demo" / file).read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    assert f"```yaml\n{text}```\n" in (ROOT / page).read_text()


def test_the_reference_of_the_input_file_is_up_to_date() -> None:
    assert REFERENCE.read_text() == reference(), "run `make golden`"


def test_the_graph_is_that_of_the_rendered_template() -> None:
    assert page_with_graph(README) == README, "run `make golden`"


def test_every_make_target_of_the_pages_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for line in re.findall(r"(?:^|`|\$ )make ([a-z0-9 -]+)", page.read_text(), re.MULTILINE)
        for target in line.split()
        if not line.startswith("-")
    }
    assert named
    assert named <= targets
    assert targets >= {
        "help", "setup", "tiny", "demo", "test", "check", "fix", "golden", "e2e", "bench", "clean",
    }  # fmt: skip


def test_every_command_of_the_pages_exists() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"(?:^|`|\$ |bin/)argotune ([a-z]+)\b(?!-)", text, re.MULTILINE))
    assert set(COMMANDS) <= named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands_of(page.read_text())], ids=name_of
)
def test_outputs_are_what_the_commands_print(page: Path) -> None:
    with shell() as run:
        assert written(page.read_text(), run) == page.read_text(), "run `make golden`"


def test_every_command_has_an_output_that_is_checked() -> None:
    checked = " ".join(" ".join(commands_of(page.read_text())) for page in PAGES)
    missing = {"plan", "presets", "install", "uninstall", "--help"} - set(checked.split())
    assert not missing


RECORDED = {page: recorded_blocks(page.read_text()) for page in PAGES}


@pytest.mark.parametrize("block", of(RECORDED))
def test_messages_of_a_recorded_run_are_still_in_the_source(block: str) -> None:
    said = re.findall(
        r"^(?:  (?:ok|info|warning|problem|unknown) +|  {10}(?!\$)|(?:warning|error): )(\S.*)$",
        block,
        re.MULTILINE,
    )
    assert [line for line in said if characters_said(line) < _LEAST_SAID] == []


@pytest.mark.parametrize("block", of(RECORDED))
def test_steps_and_results_of_a_recorded_run_are_those_of_the_template(block: str) -> None:
    (main,) = (item for item in FINETUNE["templates"] if item["name"] == FINETUNE["entrypoint"])
    (end,) = (item for item in FINETUNE["templates"] if item["name"] == FINETUNE["onExit"])
    at_end = [step for group in end["steps"] for step in group]
    steps = [task["name"] for task in [*main["dag"]["tasks"], *at_end]]
    results = {item["name"] for item in main["outputs"]["parameters"]}
    ended = re.findall(r"^(\w+) +succeeded ", block, re.MULTILINE)
    assert ended == sorted(ended, key=lambda name: steps.index(name))
    assert set(re.findall(r"^([a-z-]+): {2,}\S", block, re.MULTILINE)) <= results


def test_the_recorded_demo_asks_what_the_demo_asks() -> None:
    (demo,) = (block for block in recorded_blocks(README) if block.startswith("$ make demo"))
    asked = re.findall(r"^(.*[?.])\n  base: .*\n  tuned: ", demo, re.MULTILINE)
    assert asked
    assert set(asked) <= set(_ASKED)


def test_the_messages_with_advice_are_those_of_the_source() -> None:
    section = README.partition("## When something fails")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]*)` \| ", section, re.MULTILINE)
    assert len(quoted) >= 10
    assert [message for message in quoted if not is_said(message)] == []


@pytest.mark.parametrize(
    ("page", "folder"),
    [
        ("steps", "steps"),
        ("workflows", "workflows"),
        ("workflows", "workflows/engine"),
        ("workflows/cli", "workflows/cli"),
    ],
)
def test_a_layout_names_every_folder(page: str, folder: str) -> None:
    text = (ROOT / page / "README.md").read_text()
    folders = [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")]
    assert folders
    assert [name for name in folders if f"`{name}/`" not in text] == []


@pytest.mark.parametrize(
    ("page", "letter"), [("workflows", "W"), ("steps", "S"), ("steps/nodes/aks", "A")]
)
def test_decisions_are_numbered_and_struck_ones_name_another(page: str, letter: str) -> None:
    text = (ROOT / page / "README.md").read_text().partition("## Decisions")[2]
    records = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    numbers = [re.match(r"(?:~~)?\*\*([A-Z]\d+)\. ", record) for record in records]
    ids = [number[1] if number else record for number, record in zip(numbers, records, strict=True)]
    assert ids == [f"{letter}{count}" for count in range(1, len(records) + 1)]
    replaced = [re.findall(r"Replaced\s+by ([A-Z]\d+)", record) for record in records]
    struck = ["~~" in record for record in records]
    assert [bool(names) for names in replaced] == struck
    assert {name for names in replaced for name in names} <= set(ids)
