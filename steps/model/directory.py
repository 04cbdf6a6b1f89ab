"""Model source dir: a directory on this machine or on a mounted volume."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import fsync
from argotune.steps.model.files import model_files


def fetch_directory(
    source: Path,
    directory: Path,
    *,
    on_progress: Callable[[int, int], None],
) -> None:
    """Add the model's files to the directory: as hard links, which take no space, else as copies.

    Raises PermanentError if the source is not a model's directory.
    """
    if not source.is_dir():
        raise PermanentError(f"dir:{source}: no such directory")
    names = model_files((path.name for path in source.iterdir()), f"dir:{source}")
    sizes = [(source / name).stat().st_size for name in names]
    for index, name in enumerate(names):
        _take(source / name, directory / name)
        on_progress(sum(sizes[: index + 1]), sum(sizes))


def _take(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    # The Hub's cache consists of symbolic links.
    real = source.resolve()
    # `check_model` may rewrite small files, which must not change the source.
    if real.suffix == ".safetensors":
        try:
            os.link(real, target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(real, target)
    fsync(target)
