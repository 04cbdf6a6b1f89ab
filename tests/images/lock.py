"""What a dependency group installs, read from uv.lock as uv does for an image."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from packaging.markers import Marker

from tests.images.containerfile import ROOT

OURS = ROOT / "uv.lock"
# The production base; the other values are those of the machine that runs the tests, Linux too.
_PYTHON = {"python_version": "3.12", "python_full_version": "3.12.9", "extra": ""}

Requirement = dict[str, Any]


def direct(group: str, lock: Path = OURS) -> set[str]:
    """Names that the group lists."""
    return {requirement["name"] for requirement in _project(lock)["dev-dependencies"][group]}


def closure(group: str, pruned: Iterable[str] = (), lock: Path = OURS) -> set[str]:
    """Names of all that the group brings, without the pruned ones."""
    left_out = set(pruned)
    waiting: list[Requirement] = list(_project(lock)["dev-dependencies"][group])
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = requirement["name"], tuple(requirement.get("extra", ()))
        if name in left_out or (name, extras) in seen or not _applies(requirement):
            continue
        seen.add((name, extras))
        for package in packages(name, requirement.get("version"), lock):
            waiting += package.get("dependencies", [])
            for extra in extras:
                waiting += package.get("optional-dependencies", {}).get(extra, [])
    return {name for name, _ in seen}


def _applies(requirement: Requirement) -> bool:
    marker = requirement.get("marker")
    return marker is None or Marker(marker).evaluate(_PYTHON)


def packages(name: str, version: str | None = None, lock: Path = OURS) -> list[Requirement]:
    """What the lock file says of a distribution, of all its versions or of one."""
    found = [package for package in _packages(lock) if package["name"] == name]
    assert found, name
    return [package for package in found if version in {None, package["version"]}]


def _project(lock: Path) -> Requirement:
    (project,) = (package for package in _packages(lock) if "dev-dependencies" in package)
    return project


@cache
def _packages(lock: Path) -> list[Requirement]:
    found: list[Requirement] = tomllib.loads(lock.read_text())["package"]
    return found
