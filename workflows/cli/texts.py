"""The files of a command: its input as texts, and what it writes where the user says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from argotune.workflows.cli.errors import InputError
from argotune.workflows.engine.errors import naming
from argotune.workflows.workspace.documents import Texts


def read_texts(paths: Sequence[Path]) -> Texts:
    """Read the files' names and texts; `-` is standard input.

    Raises InputError naming each that cannot be read.
    """
    texts, problems = [], []
    for path in paths:
        try:
            texts.append((str(path), _read_text(path)))
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
        except UnicodeDecodeError:
            problems.append(f"{path}: not a text file")
    if problems:
        raise InputError(problems)
    return texts


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user names. Raises OSError with its name, also of a full disk."""
    with naming(path):
        path.write_bytes(content)


def _read_text(path: Path) -> str:
    return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
