"""Model source oci: a container image with the model's files anywhere in its layers.

Kaito's images have them under /workspace/tfs/weights or /workspace/weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import fsync
from argotune.steps.contracts.model_source import CONFIG, is_model_file
from argotune.steps.model.files import model_files
from argotune.steps.registry.layers import Image, extract_image
from argotune.steps.registry.skopeo import Registry


def fetch_image(
    image: Image,
    directory: Path,
    *,
    registry: Registry,
    on_progress: Callable[[int, int], None],
) -> None:
    """Extract the model's files of an image into the directory.

    Raises PermanentError or TransientError.
    """
    scratch = directory / ".image"
    try:
        places = extract_image(
            image,
            scratch,
            lambda _, name: is_model_file(name),
            registry=registry,
            on_progress=on_progress,
        )
        with_weights = (path for path in places.values() if any(path.glob("*.safetensors")))
        _move_model(only_model(with_weights, image.name), directory, image.name)
    finally:
        shutil.rmtree(scratch / "files", ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)


def only_model(places: Iterable[Path], image: str) -> Path:
    """The only directory that has a configuration too, of those of an image with weights.

    Raises PermanentError.
    """
    candidates = [place for place in places if (place / CONFIG).exists()]
    if len(candidates) != 1:
        found = "no directory" if not candidates else f"{len(candidates)} directories"
        raise PermanentError(
            f"{image}: {found} with {CONFIG} and model*.safetensors; expected exactly one"
        )
    return candidates[0]


def _move_model(place: Path, directory: Path, image: str) -> None:
    for name in model_files((path.name for path in place.iterdir()), image):
        fsync(place / name)
        (place / name).replace(directory / name)
