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


def read_standard_input() -> str:
    """Read standard input. Raises InputError where it is no text."""
    try:
        return _standard_input()
    except UnicodeDecodeError as error:
        raise InputError("standard input: not a text file") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user names. Raises OSError with its name, also of a full disk."""
    with naming(path):
        path.write_bytes(content)


def _read_text(path: Path) -> str:
    return _standard_input() if str(path) == "-" else path.read_text(encoding="utf-8")


def _standard_input() -> str:
    """Read it as files are read: what the locale's encoding makes of bytes depends on the shell."""
    return sys.stdin.buffer.read().decode("utf-8").replace("\r\n", "\n")
