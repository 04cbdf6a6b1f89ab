"""`pip install .` into an empty venv, without the extras: every command says what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from argotune.workflows.cli.main import COMMANDS
from tests.workflows.cli.command import PROJECT_DIR
from tests.workflows.cli.documents import TINY

_PACKAGE = "argotune"
_CALLS = {
    "plan": ["plan", "workspace.yaml"],
    "presets": ["presets"],
    "status": ["status"],
    "doctor": ["doctor"],
    "doctor of a workspace": ["doctor", "workspace.yaml"],
    "run": ["run", "workspace.yaml"],
    "submit": ["submit", "for-cluster.yaml"],
    "data": ["data", "workspace.yaml"],
    "evaluate": ["evaluate", "tiny", "--data", "rows.jsonl"],
    "tiny": ["tiny"],
}
_HELP = {f"{name} --help": [name, "--help"] for name in COMMANDS}
# One process for all calls: each of its own would take half a second to start.
_CALLER = """
import contextlib, io, json, pathlib, sys, traceback
import argotune
from argotune.workflows.cli.main import main
answers = {}
for name, arguments in json.loads(sys.argv[1]).items():
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(arguments)
        except SystemExit as exited:
            code = exited.code
        except Exception:
            code = traceback.format_exc()
    answers[name] = [code, said.getvalue()]
answers["plan in Python"] = [0, repr(argotune.plan(pathlib.Path("workspace.yaml")))]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Any, str]]:
    """The exit code and the words of each call."""
    here = tmp_path_factory.mktemp("bare")
    (here / "workspace.yaml").write_text(TINY)
    of_registry = "image: registry.example.com/mine:1\n    imagePushSecret: mine"
    for_cluster = TINY.replace("image: oci:dist/my-tiny", of_registry)
    (here / "for-cluster.yaml").write_text(for_cluster)
    (here / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    done = subprocess.run(
        # -S: nothing of this Python's site-packages is found.
        [sys.executable, "-S", "-c", _CALLER, json.dumps(_CALLS | _HELP)],
        env={
            "PYTHONPATH": str(bare_site(here / "site")),
            "HOME": str(here),
            "PATH": "/usr/bin:/bin",
        },
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, tuple[Any, str]] = json.loads(done.stdout)
    return answers


def bare_site(directory: Path) -> Path:
    """A site-packages of links to what `pip install .` brings, and nothing else."""
    directory.mkdir()
    (directory / _PACKAGE).symlink_to(PROJECT_DIR / ".src" / _PACKAGE)
    brought = {found.name: found for found in _brought(_PACKAGE, frozenset(), set())}
    assert {"httpx", "typer", "kubernetes"} <= brought.keys()
    assert not {"numpy", "torch", "hera"} & brought.keys()
    for distribution in brought.values():
        for name in {file.parts[0] for file in distribution.files or []}:
            if name not in ("..", "__pycache__") and not name.endswith(".pth"):
                (directory / name).symlink_to(Path(str(distribution.locate_file(name))))
    return directory


def _brought(
    name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]
) -> Iterator[metadata.Distribution]:
    """The distribution and all that it requires with these extras."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    distribution = metadata.distribution(name)
    yield distribution
    for need in map(Requirement, distribution.requires or []):
        wanted = [{"extra": extra} for extra in ("", *extras)]
        if need.marker is None or any(need.marker.evaluate(each) for each in wanted):
            yield from _brought(need.name, frozenset(need.extras), seen)


def test_every_command_has_its_help(answers: Mapping[str, tuple[Any, str]]) -> None:
    assert {call: answers[call] for call in _HELP if answers[call][0] != 0} == {}
    assert [call for call in _HELP if "Usage: argotune" not in answers[call][1]] == []


@pytest.mark.parametrize("call", ["plan", "presets", "status", "plan in Python"])
def test_what_needs_no_step_works(answers: Mapping[str, tuple[Any, str]], call: str) -> None:
    code, said = answers[call]
    assert code == 0, f"{code}\n{said}"


@pytest.mark.parametrize(
    ("call", "code", "packages"),
    [
        ("run", 3, {"numpy", "torch", "fastapi", "huggingface-hub"}),
        ("data", 3, {"numpy", "pyarrow"}),
        ("evaluate", 3, {"numpy", "torch"}),
        ("tiny", 3, {"numpy", "torch"}),
        ("doctor", 1, {"numpy", "torch"}),
        ("doctor of a workspace", 1, {"numpy", "torch"}),
    ],
)
def test_what_needs_a_step_says_what_to_install(
    answers: Mapping[str, tuple[Any, str]], call: str, code: int, packages: set[str]
) -> None:
    found, said = answers[call]
    assert found == code, f"{found}\n{said}"
    command = said.partition(" -m pip install ")[2].partition("\n")[0]
    assert packages <= {Requirement(each.strip("'")).name for each in command.split() if each}


def test_submit_asks_for_a_cluster_and_no_package(
    answers: Mapping[str, tuple[Any, str]],
) -> None:
    code, said = answers["submit"]
    assert (code, said.startswith("error: no cluster: ")) == (3, True), f"{code}\n{said}"
