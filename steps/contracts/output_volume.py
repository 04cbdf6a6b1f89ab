"""The user's claim that gets a copy of the adapter: plan tries to write there, push does.

A directory of an adapter is named by workspace and digest, and never changes: somebody may be
reading it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.fs import replacing_directory
from argotune.steps.common.urls import VOLUME_SCHEME


def try_volume(claim: str, directory: Path | None) -> None:
    """Write a file on the claim that is gone when it is closed.

    Raises ParamsError where it is not mounted, PermanentError where it cannot be written to.
    """
    root = _mounted(claim, directory)
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"argotune")
    except OSError as error:
        raise PermanentError(
            f"output-claim: {claim}: {error.strerror}: nothing can be written there; pods write as"
            " user and group 65532, so give these the right, or name another claim"
        ) from error


def keep_copy(
    files: Sequence[Path], claim: str, directory: Path | None, *, workspace: str, name: str
) -> str:
    """Copy an adapter's files into a directory of this name; returns its volume:// URL.

    Raises ParamsError where the claim is not mounted, and OSError.
    """
    place = _mounted(claim, directory) / workspace / name
    if not place.is_dir():
        with replacing_directory(place) as copied:
            for path in files:
                shutil.copyfile(path, copied / path.name)
    return f"{VOLUME_SCHEME}://{claim}/{workspace}/{name}"


def _mounted(claim: str, directory: Path | None) -> Path:
    if directory is None or not directory.is_dir():
        raise ParamsError(
            f"--output-dir: {directory} is not there: claim {claim} is not mounted; does the"
            " installation allow it?"
        )
    return directory
