"""The user's agreement to run a workflow of someone else as processes of this machine.

A pod of a cluster has its own file system, account and network; a process of this machine has the
user's. So the first run of such a workflow asks, and what was agreed to is kept by its content.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import typer

from argotune.steps.common.fs import atomic_write, locked
from argotune.workflows.cli.errors import INTERRUPTED, InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.workspace.documents import Texts

_WHAT_IT_IS = (
    "this workflow is no Workspace: its steps run as processes of this machine with your rights,"
    " and their images are not used"
)
_INSTEAD = "--runtime docker or podman runs them in containers"


def agree(here: Home, texts: Texts, *, yes: bool) -> None:
    """Ask once for each content of the files; `yes` answers beforehand.

    Raises InputError where nobody can be asked, and ends the command where the answer is no.
    """
    file = here.root / "agreed-workflows"
    digest = _digest(texts)
    if digest in _agreed(file):
        return
    if not yes:
        _ask()
    here.make()
    # Runs that start together take turns: a file has one writer, and each adds to what is there.
    with locked(here.root / ".agreed-workflows.lock"):
        atomic_write(file, "\n".join([*_agreed(file), digest, ""]))


def _agreed(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def _ask() -> None:
    if not sys.stdin.isatty():
        raise InputError(f"{_WHAT_IT_IS}; look at it and say --yes, or {_INSTEAD}")
    print(f"{_WHAT_IT_IS}; {_INSTEAD}.", file=sys.stderr)
    if not typer.confirm("Run it?", err=True):
        raise typer.Exit(INTERRUPTED)


def _digest(texts: Texts) -> str:
    """Return a digest of the texts, whatever their files' names are."""
    digests = [hashlib.sha256(text.encode()).hexdigest() for _, text in texts]
    return hashlib.sha256(" ".join(sorted(digests)).encode()).hexdigest()
