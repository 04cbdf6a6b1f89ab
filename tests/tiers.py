"""Which tests run when. Every test is in one tier, and every tier is what a command runs.

python -m tests.tiers                 what each tier holds; fails for a test that is in none
python -m tests.tiers --shard         the shard for the change at HEAD, as a marker
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pytest

SHARDS = ("shard1", "shard2", "shard3", "shard4", "shard5")
WEEKLY = "weekly"
_APART = ("gpu", "vllm", "cosign")
"""What most machines do not have; each a tier."""
CLUSTER_TIERS = ("smoke", *SHARDS, WEEKLY)
AREAS = {
    "workflows/templates/": "shard1",
    "workflows/engine/": "shard2",
    "tests/workflows/engine/cases/": "shard2",
    "images/": "shard3",
    "workflows/operator/": "shard5",
}
"""Where a change asks for a shard, and which. A file of tests/e2e asks for its own."""
_ROOT = Path(__file__).parent.parent
_CLUSTER_TESTS = "tests/e2e/"
_MARKED = re.compile(r"\bmark\.(cluster|gpu|vllm|cosign|smoke|weekly|shard\d)\b")
_CHANGE_SECONDS = 4 * 3600
"""Commits of so long before the last one are one change."""


def tiers_of(marks: Collection[str]) -> list[str]:
    """The tiers that a test with these marks is in; it is right when there is one."""
    chosen = [tier for tier in CLUSTER_TIERS if tier in marks]
    if "cluster" in marks or chosen:
        return chosen if "cluster" in marks and not {*marks} & {*_APART} else []
    return [mark for mark in _APART if mark in marks] or ["unit"]


def check(items: Iterable[pytest.Item]) -> None:
    """Raise pytest.UsageError that names every test which is not in exactly one tier."""
    wrong = {}
    for item in items:
        tiers = tiers_of(_marks(item))
        if len(tiers) != 1:
            found = " and ".join(tiers) or "no tier"
            wrong[item.nodeid] = f"{item.nodeid} is in {found}"
    if wrong:
        ways = (
            f"mark it cluster and one of {', '.join(CLUSTER_TIERS)}, or {', or '.join(_APART)}, or "
            "nothing"
        )
        raise pytest.UsageError("\n".join([*wrong.values(), f"{ways}: see tests/e2e/README.md"]))


def _marks(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers()}


def shard_of(commits: int, changed: Iterable[str]) -> tuple[str, str]:
    """The shard that runs for the number of commits and the paths that the change touches, and why.

    The number chooses among those that the paths ask for, or among all where they ask for none.
    """
    reasons: dict[str, str] = {}
    for path in changed:
        for shard in _asked_for(path):
            reasons.setdefault(shard, path)
    if not reasons:
        reasons = dict.fromkeys(SHARDS, f"commit {commits}")
    chosen = sorted(reasons)[commits % len(reasons)]
    return chosen, reasons[chosen]


def _asked_for(path: str) -> list[str]:
    if path.startswith(_CLUSTER_TESTS):
        file = _ROOT / path
        text = file.read_text() if file.name.startswith("test_") and file.exists() else ""
        return sorted({mark for mark in _MARKED.findall(text) if mark in SHARDS})
    return [shard for area, shard in AREAS.items() if path.startswith(area)]


def _of_the_change(base: str | None) -> tuple[str, str]:
    """For HEAD against base, or against what was there before the last hours' commits."""
    if base is None:
        began = int(_git("show", "--no-patch", "--format=%ct", "HEAD")) - _CHANGE_SECONDS
        base = _git("rev-list", "-1", f"--before={began}", "HEAD")
    changed = _git("diff", "--name-only", base, "HEAD").splitlines() if base else []
    return shard_of(int(_git("rev-list", "--count", "HEAD")), changed)


def _git(*arguments: str) -> str:
    command = ("git", "-C", str(_ROOT), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class _Collected:
    """A plugin that keeps the tests which pytest found."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.items = list(items)


def _sizes() -> tuple[int, Mapping[str, int]]:
    """The exit code of collecting all files that name a tier, and the tests of each."""
    found = sorted((_ROOT / "tests").rglob("test_*.py"))
    files = [
        str(path)
        for path in found
        if str(path.relative_to(_ROOT)).startswith(_CLUSTER_TESTS)
        or _MARKED.search(path.read_text())
    ]
    assert files, f"no tests below {_ROOT}"
    collected, said = _Collected(), io.StringIO()
    options = [
        "--collect-only",
        "-qq",
        "-p",
        "no:cacheprovider",
        "-m",
        " or ".join(("cluster", *_APART)),
    ]
    with contextlib.redirect_stdout(said):
        code = int(pytest.main([*options, *files], plugins=[collected]))
    if code:
        print(said.getvalue())
    tiers = [tier for item in collected.items for tier in tiers_of(_marks(item))]
    return code, Counter(tier for tier in tiers if tier != "unit")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--since", metavar="REV", help="first commit before the change")
    options = parser.parse_args()
    if options.shard:
        try:
            shard, reason = _of_the_change(options.since)
        except subprocess.CalledProcessError as error:
            print(f"tests.tiers: {error.stderr.strip()}", file=sys.stderr)
            return 2
        print(f"{shard}: {reason}", file=sys.stderr)
        print(shard)
        return 0
    code, sizes = _sizes()
    if code == 0:
        print(", ".join(f"{tier}: {sizes[tier]} tests" for tier in sorted(sizes)))
    return code


if __name__ == "__main__":
    sys.exit(main())
