"""Atomic files and directories, free space and checksums.

What is being written has the name that `partial_path` gives: a killed process leaves that name and
no other, and the next writer takes it over. So a file has one writer at a time; where several
processes may be, they hold a lock (`locked`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from argotune.steps.common.exhausted import located


def partial_path(path: Path) -> Path:
    """The path under which `path` is written until it is complete: .NAME.part beside it."""
    return path.with_name(f".{path.name}.part")


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file atomically: a temporary file beside it, fsync, rename."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file; rename it to `path` on success and delete it on an error.

    Its mode is that of a new file, which the umask decides. No other process may write `path` at
    the same time. A full volume is an OSError with the path, whatever library met it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_path(path)
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(b"")
    mode = _mode(temporary)
    try:
        yield temporary
        temporary.chmod(mode)
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _name(error, path)
        raise


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory; rename it to `path` on success and delete it on an error.

    An existing directory is replaced. The modes in it are those of new files, which the umask
    decides: safetensors makes files that only their owner reads. No other process may write `path`
    at the same time. Errors are those of `replacing`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partials(path.parent, path.name)
    temporary = partial_path(path)
    temporary.mkdir()
    mode = _mode(temporary)
    try:
        yield temporary
        for each in [*temporary.rglob("*"), temporary]:
            each.chmod(mode if each.is_dir() else mode & 0o666)
            fsync(each)
        remove_directory(path)
        temporary.rename(path)
        fsync(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _name(error, path)
        raise


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _name(error: BaseException, path: Path) -> None:
    """Raise a library's error about a full or broken volume as one that names the path."""
    found = located(error, path)
    if found is not None:
        raise found from error


def remove_directory(path: Path) -> None:
    """Delete a directory, if there is one, so that a kill leaves no half of it under its name."""
    leaving = path.with_name(f".{path.name}.old.part")
    if path.is_dir():
        remove_partials(path.parent, f"{path.name}.old")
        path.rename(leaving)
        shutil.rmtree(leaving)


def remove_partials(directory: Path, name: str = "*") -> None:
    """Delete what killed writers and removers of this name, a glob pattern, left in a directory.

    No other process may write these names at the same time.
    """
    for left in {*directory.glob(f".{name}.part"), *directory.glob(f".{name}.old.part")}:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes_of(directory: Path) -> int:
    """Free bytes of the volume that holds a directory."""
    return shutil.disk_usage(directory).free


def sha256_file(path: Path) -> str:
    """The lower-case hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the file's lock; call `on_wait` before waiting for a process that holds it.

    The kernel releases it when its process ends in any way. An error of `on_wait` ends the
    attempt. The file holds nothing: on SMB shares, such as Azure Files, a locked file cannot be
    written through another descriptor.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
