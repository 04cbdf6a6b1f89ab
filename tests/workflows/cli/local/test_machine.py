"""What a run needs of this machine: refused before the first step, and shown by argotune doctor."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from argotune.presets.loader import model_preset
from argotune.steps.contracts.model_cache import Origin, cache_path, mark_complete
from argotune.steps.contracts.training_plan import tuning_bytes
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.disk import size
from argotune.workflows.cli.local.machine import missing_packages
from argotune.workflows.workspace.planned import load
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import TINY

LARGE = TINY.replace("name: tiny", "name: qwen2.5-coder-32b-instruct")
METADATA = """\
Metadata-Version: 2.1
Name: argotune
Version: 0.1.0
Provides-Extra: local
Provides-Extra: tune
Provides-Extra: track
Requires-Dist: argotune[tune]; extra == "local"
Requires-Dist: pyyaml>=6; extra == "tune"
Requires-Dist: pytest>=1000; extra == "tune"
Requires-Dist: no-such-package>=2; extra == "tune"
Requires-Dist: also-missing; extra == "track"
"""
"""Of an installation whose steps lack two packages."""
INSTALL = f"{sys.executable} -m pip install 'pytest>=1000' 'no-such-package>=2'"


@pytest.fixture
def lacking_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site" / "argotune-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(folder.parent)


@pytest.fixture
def weights(home_dir: Path) -> Path:
    """A directory that counts as the weights of preset tiny."""
    preset = model_preset("tiny")
    directory = cache_path(Home(home_dir).models_dir, preset.repository, preset.revision)
    directory.mkdir(parents=True)
    mark_complete(directory, Origin(source="made", version=preset.revision))
    return directory


def found(argotune: Argotune, *files: Path) -> dict[str, str]:
    """The level of each area of the doctor's findings, the last one of an area."""
    rows = json.loads(argotune("doctor", "-o", "json", *files).out)
    return {row["area"]: row["level"] for row in rows}


def test_this_python_has_what_the_steps_need() -> None:
    assert missing_packages("local") == []


def test_missing_packages_are_named_with_their_command_before_the_first_step(
    argotune: Argotune, write: Write, weights: Path, lacking_packages: None, home_dir: Path
) -> None:
    answer = argotune("run", write("workspace.yaml", TINY))
    assert (answer.code, answer.out) == (3, "")
    assert answer.errors == [
        f"the steps need Python packages that are not in {sys.prefix}: pytest, no-such-package;"
        f" install them: {INSTALL}"
    ]
    assert not (home_dir / "runs").exists()
    assert argotune("tiny").errors == [f"Python packages are missing; install them: {INSTALL}"]


def test_a_tracker_needs_its_package(
    argotune: Argotune, write: Write, weights: Path, lacking_packages: None
) -> None:
    config = "training_config:\n      TrainingArguments: {report_to: wandb}"
    text = TINY.replace("  input:", "  config: mine\n  input:") + (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n"
        f"data:\n  training_config.yaml: |\n    {config}\n"
    )
    answer = argotune("run", write("workspace.yaml", text))
    assert ", also-missing;" in answer.errors[0]


def test_doctor_without_a_cluster_looks_at_this_machine(
    argotune: Argotune, write: Write, weights: Path
) -> None:
    answer = argotune("doctor", write("workspace.yaml", TINY))
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[:2] == ["packages", f"  ok       the packages of the steps are in {sys.prefix}"]
    assert lines[-2:] == [
        f"  ok       the weights of preset tiny are in {weights}",
        f"{len(lines) - 6} ok",
    ]


def test_doctor_ends_with_1_for_what_a_run_would_be_refused_for(
    argotune: Argotune, write: Write, lacking_packages: None
) -> None:
    file = write("workspace.yaml", TINY)
    assert argotune("doctor", file).code == 1
    assert argotune("doctor", file).out.splitlines()[1:4] == [
        f"  problem  the steps need Python packages that are not in {sys.prefix}: pytest,"
        " no-such-package",
        "           install them",
        f"           $ {INSTALL}",
    ]
    assert found(argotune, file)["weights"] == "problem"


def test_a_registry_takes_skopeo(
    argotune: Argotune, write: Write, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = TINY.replace("oci:dist/my-tiny", "r.example.com/a:1\n    imagePushSecret: login")
    answer = argotune("run", write("workspace.yaml", text))
    assert (answer.code, answer.errors) == (
        3,
        [
            "the run pushes to r.example.com/a:1, which takes skopeo, and it is not on this"
            " machine; install it, as your system's package skopeo"
        ],
    )
    assert argotune("doctor", write("workspace.yaml", TINY)).code == 0


def test_a_model_that_the_memory_does_not_hold(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"SC_PHYS_PAGES": 2_000_000, "SC_PAGE_SIZE": 4_000}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    answer = argotune("run", write("workspace.yaml", LARGE))
    assert answer.code == 3
    assert answer.errors[0].startswith("qwen2.5-coder-32b-instruct with lora takes at least 6")
    assert "this machine has 8.0 GB; take a smaller preset" in answer.errors[0]


def test_weights_for_which_there_is_no_room(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch, home_dir: Path
) -> None:
    pages = {"SC_PHYS_PAGES": 100_000_000, "SC_PAGE_SIZE": 4_000}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**9, 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    answer = argotune("run", write("workspace.yaml", LARGE))
    assert answer.code == 3
    (error,) = (each for each in answer.errors if "checkpoints" in each)
    assert error.endswith(
        f"and 1.0 GB are free for {home_dir}; name a directory with more room by ARGOTUNE_HOME"
    )


def test_little_room_is_told_in_mb_and_old_runs_where_there_are_some(
    argotune: Argotune,
    write: Write,
    weights: Path,
    home_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")(20_000_000, 19_700_000, 300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (home_dir / "runs" / "old").mkdir(parents=True)
    answer = argotune("run", write("workspace.yaml", TINY))
    assert answer.code == 3
    plan = load([("workspace.yaml", TINY)], overrides={}, allow_loopback=False).plan
    # Step dataset refuses what has not this much room; it would, after the run had begun.
    assert answer.errors[0] == (
        f"weights and checkpoints of tiny take {size(tuning_bytes(plan))}, and 300 kB are free for"
        f" {home_dir}; delete old runs, or name a directory with more"
        " room by ARGOTUNE_HOME: argotune rm --older-than 7d"
    )


@pytest.mark.parametrize("kind", ["read-only", "a file"])
def test_an_image_directory_that_push_could_not_write(
    argotune: Argotune, write: Write, weights: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").touch()
    # Linux makes no file there, for root neither.
    place = Path("/proc") if kind == "read-only" else tmp_path / "file"
    file = write("workspace.yaml", TINY.replace("oci:dist/my-tiny", f"oci:{place}/below/x:1"))
    answer = argotune("run", file)
    assert answer.code == 3
    (error,) = answer.errors
    assert error.startswith(
        f"tuning.output.image: oci:{place}/below/x:1: {place}: no file can be made there ("
    )
    assert error.endswith(
        "); make it writable, or name another directory: --output-image oci:DIRECTORY"
    )
