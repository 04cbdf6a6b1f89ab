"""Model source dir: a directory on this machine or on a mounted volume."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from argotune.steps.common.fs import fsync
from argotune.steps.contracts.model_cache import CachedFile
from argotune.steps.model.files import check_space, model_files


def fetch_directory(
    source: Path,
    files: Mapping[str, CachedFile],
    directory: Path,
    *,
    free_bytes: Callable[[Path], int],
    on_progress: Callable[[int, int], None],
) -> None:
    """Copy the model's files, which were read as `files`, into the directory.

    They are copies and no hard links: the owner of the source may write into its files, and the
    cache has promised their sums to others. Raises PermanentError if the source is not a model's
    directory, or if there is no space.
    """
    names = model_files(files, f"dir:{source}")
    sizes = {name: files[name].size for name in names}
    check_space(directory, sizes, free_bytes)
    for index, name in enumerate(names):
        copy_file(source / name, directory / name)
        on_progress(sum(list(sizes.values())[: index + 1]), sum(sizes.values()))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file to the disk.

    XFS and Btrfs share its blocks, and servers of NFS 4.2 copy by themselves.
    """
    with source.open("rb") as reading, target.open("wb") as writing:
        try:
            while os.copy_file_range(reading.fileno(), writing.fileno(), 1 << 30):
                pass
        except (AttributeError, OSError):
            # Not on macOS, nor between some file systems.
            reading.seek(0)
            writing.truncate(0)
            writing.seek(0)
            shutil.copyfileobj(reading, writing, 1 << 20)
    fsync(target)
