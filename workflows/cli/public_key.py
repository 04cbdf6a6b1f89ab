"""Files with public keys, which a flag names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from argotune.workflows.cli.errors import InputError

T = TypeVar("T")


def read_key_files(flag: str, paths: Sequence[Path], read: Callable[[bytes], T]) -> list[T]:
    """Read all files as `read` does. Raises InputError with all that is wrong with them."""
    keys, problems = [], []
    for path in paths:
        try:
            keys.append(_read_key_file(flag, path, read))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return keys


def _read_key_file(flag: str, path: Path, read: Callable[[bytes], T]) -> T:
    """Read the file as `read` does. Raises InputError with flag, path and what is accepted."""
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise InputError(f"{flag} {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{flag} {path}: {error}") from error
