"""A file with a public key, which a flag names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from argotune.workflows.cli.errors import InputError

T = TypeVar("T")


def read_key_file(flag: str, path: Path, read: Callable[[bytes], T]) -> T:
    """Read the file as `read` does. Raises InputError with flag, path and what is accepted."""
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise InputError(f"{flag} {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{flag} {path}: {error}") from error
