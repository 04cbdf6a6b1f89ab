"""Data in the layers of an image: Kaito's images have it in /data, artifacts of ORAS at the top."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.exhausted import MORE_ROOM
from argotune.steps.common.fs import free_bytes_of, fsync
from argotune.steps.dataset.local_files import LocalFile
from argotune.steps.dataset.selection import is_data_name, select
from argotune.steps.registry.layers import Image, extract_image, resolve_image, size_of
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry

_DATA_DIR = "/data"
_logger = logging.getLogger(__name__)


def files_of_image(
    url: str,
    directory: Path,
    *,
    registry: Registry,
    max_bytes: int,
    free_bytes: Callable[[Path], int] = free_bytes_of,
) -> list[LocalFile]:
    """Fetch an image and extract its dataset files below the directory.

    An image that an earlier attempt extracted is not fetched again, as long as its tag names the
    same one. Raises PermanentError or TransientError.
    """
    # Params has parsed it before.
    reference = parse_image(url.removeprefix("oci://"))
    image = resolve_image(reference, registry, name=url)
    place = directory / f"image-{image.digest.removeprefix('sha256:')[:24]}"
    if not place.is_dir():
        _extract(image, place, registry, max_bytes, free_bytes)
    names = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    if not names:
        raise PermanentError(
            f"{url}: no dataset files in {_DATA_DIR}; accepted are .parquet, .arrow, .jsonl, .json"
            f" and .csv there, with or without .gz or .zst: COPY them to {_DATA_DIR}, or push them"
            " with oras"
        )
    return [
        LocalFile(url=f"oci://{image.reference}/{quote(name)}", path=place / name)
        for name in select(names, "", url)
    ]


def _extract(
    image: Image,
    place: Path,
    registry: Registry,
    max_bytes: int,
    free_bytes: Callable[[Path], int],
) -> None:
    size = size_of(image, registry)
    if size > max_bytes:
        raise PermanentError(
            f"{image.name}: {size / 1e9:.3g} GB of layers, more than the limit of"
            f" {max_bytes / 1e9:.3g} GB; raise --max-download-gib to allow it"
        )
    scratch = place.with_name(f".{place.name}.partial")
    scratch.mkdir(parents=True, exist_ok=True)
    if 2 * size > (free := free_bytes(scratch)):
        raise PermanentError(
            f"{image.name}: its layers and their files need {2 * size / 1e9:.3g} GB,"
            f" {free / 1e9:.3g} GB are free; {MORE_ROOM}"
        )
    places = extract_image(
        image,
        scratch,
        _is_data,
        registry=registry,
        on_progress=lambda done, total: None,
        max_bytes=max_bytes,
    )
    tree = scratch / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for directory, files in places.items():
        _move(files, tree / _inside(directory), image)
    fsync(tree)
    tree.rename(place)
    shutil.rmtree(scratch, ignore_errors=True)
    log.event(_logger, "image-extracted", image=image.name, digest=image.digest, bytes=size)


def _move(files: Path, target: Path, image: Image) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in files.iterdir():
            path.rename(target / path.name)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise PermanentError(
            f"{image.name}: {target.name} is a file in one layer and a directory in another"
        ) from error


def _is_data(directory: str, name: str) -> bool:
    is_there = directory in ("/", _DATA_DIR) or directory.startswith(f"{_DATA_DIR}/")
    return is_there and is_data_name(name)


def _inside(directory: str) -> str:
    """Where a directory of the image goes: /data and the top are the same."""
    path = PurePosixPath(directory)
    return path.relative_to(_DATA_DIR if path.is_relative_to(_DATA_DIR) else "/").as_posix()
