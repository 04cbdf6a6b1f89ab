"""The README tells the truth: its files, targets and commands are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from argotune.workflows.cli.main import COMMANDS
from argotune.workflows.workspace.reference import README as REFERENCE
from argotune.workflows.workspace.reference import reference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("[a-z]*/README.md"), *ROOT.glob("workflows/*/README.md")]
)


def test_the_readme_shows_the_workspace_that_the_demo_runs() -> None:
    assert (ROOT / "workflows" / "demo" / "workspace.yaml").read_text() in README


def test_the_reference_of_the_input_file_is_up_to_date() -> None:
    assert REFERENCE.read_text() == reference(), "run `make golden`"


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert named
    assert named <= targets
    assert targets >= {
        "help", "setup", "tiny", "demo", "test", "check", "fix", "golden", "e2e", "bench", "clean",
    }  # fmt: skip


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"(?:^|`|\$ |bin/)argotune ([a-z]+)\b", README, re.MULTILINE))
    assert set(COMMANDS) <= named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_there_are_pages() -> None:
    assert len(PAGES) >= 4
