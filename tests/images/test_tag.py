"""images/build tag: a tag that is equal for equal images."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.containerfile import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """All kinds of files that a build reads, and some that it does not."""
    for name in (
        "steps/push/run.py",
        "steps/README.md",
        "workflows/operator/queue.py",
        "presets/models/tiny.yaml",
        "uv.lock",
        ".src/argotune/__init__.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"what is in {name}\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "step.Containerfile").write_text("FROM scratch\n")
    shutil.copy(ROOT / "images" / "build", tmp_path / "images")
    return tmp_path


def tag(checkout: Path, **settings: str) -> str:
    done = subprocess.run(
        [str(checkout / "images" / "build"), "tag"],
        env={"PATH": "/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def test_it_is_the_version_and_a_hash(checkout: Path) -> None:
    assert re.fullmatch(r"1\.2\.3-[0-9a-f]{12}", tag(checkout))


@pytest.mark.parametrize(
    "name",
    [
        "steps/push/run.py",
        "presets/models/tiny.yaml",
        "workflows/operator/queue.py",
        "images/step.Containerfile",
        "uv.lock",
    ],
)
def test_what_a_build_reads_changes_it(checkout: Path, name: str) -> None:
    before = tag(checkout)
    with (checkout / name).open("a") as file:
        file.write("more\n")
    assert tag(checkout) != before


def test_a_new_name_changes_it(checkout: Path) -> None:
    before = tag(checkout)
    (checkout / "steps/push/run.py").rename(checkout / "steps/push/other.py")
    assert tag(checkout) != before


def test_so_do_the_base_and_the_extras(checkout: Path) -> None:
    tags = {tag(checkout), tag(checkout, BASE="python:3.13"), tag(checkout, EXTRAS="track")}
    assert len(tags) == 3


@pytest.mark.parametrize("name", ["steps/README.md", "steps/__pycache__/run.cpython-311.pyc"])
def test_what_a_build_leaves_out_does_not(checkout: Path, name: str) -> None:
    before = tag(checkout)
    path = checkout / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("something else\n")
    assert tag(checkout) == before
