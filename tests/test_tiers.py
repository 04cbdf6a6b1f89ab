"""Which tests run when."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiers

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        (set(), ["unit"]),
        ({"parametrize", "timeout"}, ["unit"]),
        ({"gpu"}, ["gpu"]),
        ({"vllm"}, ["vllm"]),
        ({"cosign"}, ["cosign"]),
        ({"cluster", "smoke"}, ["smoke"]),
        ({"cluster", "shard3", "timeout"}, ["shard3"]),
        ({"cluster", "weekly"}, ["weekly"]),
        ({"cluster"}, []),
        ({"cluster", "gpu"}, []),
        ({"cluster", "smoke", "vllm"}, []),
        ({"smoke"}, []),
        ({"cluster", "smoke", "shard1"}, ["smoke", "shard1"]),
    ],
)
def test_a_test_is_in_the_tiers_that_its_marks_say(marks: set[str], expected: list[str]) -> None:
    assert tiers.tiers_of(marks) == expected


def test_a_test_that_no_command_runs_is_an_error_of_every_command(tmp_path: Path) -> None:
    path = tmp_path / "test_forgotten.py"
    path.write_text(
        "import pytest\n\n@pytest.mark.cluster\ndef test_forgotten(): ...\n"
        "@pytest.mark.smoke\ndef test_half(): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "tests.conftest"]
    done = subprocess.run(
        [*command, f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert re.findall(r"::(\w+) is in (.+)", done.stderr) == [
        ("test_forgotten", "no tier"),
        ("test_half", "no tier"),
    ]


def test_each_of_as_many_commits_runs_another_shard() -> None:
    found = [
        tiers.shard_of(commits, ["README.md"])[0] for commits in range(100, 100 + len(tiers.SHARDS))
    ]
    assert sorted(found) == list(tiers.SHARDS)


def test_what_a_change_touches_runs_and_says_why() -> None:
    changed = ["README.md", "workflows/templates/finetune.py", "workflows/templates/rbac.py"]
    for commits in (2, 3):
        assert tiers.shard_of(commits, changed) == ("shard1", "workflows/templates/finetune.py")


def test_a_change_of_two_areas_runs_their_shards_in_turn() -> None:
    changed = ["images/build", "tests/e2e/test_karpenter.py"]
    found = [tiers.shard_of(commits, changed) for commits in (0, 1, 2)]
    assert [shard for shard, _ in found] == ["shard3", "shard4", "shard3"]


def test_a_changed_file_of_cluster_tests_runs_one_of_its_own_shards() -> None:
    assert tiers.shard_of(0, ["tests/e2e/test_engine_agrees.py"])[0] == "shard2"
    assert tiers.shard_of(0, ["tests/e2e/test_gone.py", "tests/e2e/site.py"])[0] == "shard1"


def test_an_area_that_asks_for_a_shard_is_there() -> None:
    assert tiers.AREAS
    for area, shard in tiers.AREAS.items():
        assert (ROOT / area).is_dir()
        assert shard in tiers.SHARDS
