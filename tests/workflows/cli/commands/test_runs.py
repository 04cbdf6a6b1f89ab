"""argotune runs and argotune rm."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.cli.command import Argotune, Processes, finish, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, shell, workflow


@pytest.fixture
def greeted(argotune: Argotune, write: Write) -> Path:
    """Two runs of a workflow, `one` and then `two`."""
    file = write("workflow.yaml", GREETING)
    for name in ("one", "two"):
        assert argotune("run", file, "--name", name).code == 0
    return file


def age(home_dir: Path, name: str, days: int) -> None:
    """Let the run have begun and ended so long ago."""
    path = home_dir / "runs" / name / "workflow.json"
    record: dict[str, Any] = json.loads(path.read_text())
    time = f"{2026 - days // 365}-01-01T00:00:00Z"
    record["metadata"]["creationTimestamp"] = record["status"]["finishedAt"] = time
    path.write_text(json.dumps(record))


def test_all_runs_are_listed_with_their_size(
    argotune: Argotune, greeted: Path, home_dir: Path
) -> None:
    (home_dir / "runs" / "one" / "checkpoint").write_bytes(b"x" * 3_000_000)
    (home_dir / "runs" / "half-made").mkdir()
    header, two, one, half, total = argotune("runs").out.splitlines()
    assert header.split() == ["RUN", "WORKSPACE", "PHASE", "SIZE", "AGE"]
    assert two.split()[:3] == ["two", "greet", "Succeeded"]
    assert one.split()[:5] == ["one", "greet", "Succeeded", "3.0", "MB"]
    assert half.split()[:2] == ["half-made", "Unreadable"]
    assert " in all; " in total
    found = json.loads(argotune("runs", "-o", "json").out)
    assert [(each["name"], each["phase"]) for each in found] == [
        ("two", "Succeeded"),
        ("one", "Succeeded"),
        ("half-made", "Unreadable"),
    ]
    assert found[1]["size_bytes"] >= 3_000_000


def test_no_runs(argotune: Argotune) -> None:
    assert argotune("runs").out.startswith("no runs on this machine; ")
    assert argotune("rm", "--older-than", "7d").out == "no run is older than 7d\n"


def test_runs_are_deleted_by_their_names(argotune: Argotune, greeted: Path, home_dir: Path) -> None:
    (home_dir / "runs" / "half-made").mkdir()
    answer = argotune("rm", "one", "half-made", "--dry-run")
    assert [line.partition(",")[0] for line in answer.out.splitlines()] == [
        "run one: would be deleted",
        "run half-made: would be deleted",
    ]
    answer = argotune("rm", "one", "half-made")
    assert (answer.code, answer.err) == (0, "")
    assert [path.name for path in (home_dir / "runs").iterdir()] == ["two"]


def test_a_name_that_is_no_runs_deletes_nothing(
    argotune: Argotune, greeted: Path, home_dir: Path
) -> None:
    answer = argotune("rm", "one", "greet", "nope", "..")
    assert (answer.code, answer.errors) == (
        2,
        [
            "'greet': is a workspace; name its runs: two, one",
            "'nope': no run of this name on this machine; argotune runs lists them",
            "'..': no run of this name on this machine; argotune runs lists them",
        ],
    )
    assert len(list((home_dir / "runs").iterdir())) == 2


def test_old_runs_are_deleted_by_their_age(
    argotune: Argotune, greeted: Path, home_dir: Path
) -> None:
    age(home_dir, "one", days=3650)
    answer = argotune("rm", "--older-than", "52w")
    assert answer.code == 0
    assert answer.out.startswith("run one: deleted, ")
    assert [path.name for path in (home_dir / "runs").iterdir()] == ["two"]


@pytest.mark.parametrize("text", ["7", "d", "-7d", "1y", "7 d"])
def test_an_age_is_a_number_and_a_unit(argotune: Argotune, greeted: Path, text: str) -> None:
    answer = argotune("rm", f"--older-than={text}")
    assert (answer.code, answer.errors) == (
        2,
        [f"--older-than {text!r}: accepted is a number and a unit, such as 12h, 7d or 4w"],
    )


def test_a_run_that_goes_on_is_refused(
    argotune: Argotune, start: Processes, write: Write, home_dir: Path, tmp_path: Path
) -> None:
    script = f"touch {tmp_path}/started; exec sleep 100"
    process = start("run", write("workflow.yaml", workflow(shell("main", script))), "--name", "one")
    wait_until((tmp_path / "started").exists)
    answer = argotune("rm", "one")
    assert (answer.code, answer.errors) == (
        2,
        ["one: is running; stop it first: argotune stop one"],
    )
    assert argotune("rm", "--older-than", "0s").out == "no run is older than 0s\n"
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    assert argotune("rm", "one").code == 0
