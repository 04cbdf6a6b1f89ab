"""Bring a model's tokenizer alone, with which rows are judged before anything costs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.fs import free_bytes_of, replacing_directory
from argotune.steps.contracts.model_cache import (
    Origin,
    damage,
    digest_of,
    entry_path,
    mark_complete,
    measure,
    read_marker,
)
from argotune.steps.contracts.model_source import is_tokenizer_file, is_weights_file
from argotune.steps.contracts.training_plan import Model
from argotune.steps.model.directory import copy_file
from argotune.steps.model.files import (
    arrived_damaged,
    check_config,
    damaged_files,
    model_files,
    remove_code,
)
from argotune.steps.model.image import only_model
from argotune.steps.model.params import Params
from argotune.steps.model.run import find_in_cache, find_whole
from argotune.steps.model.sources import find_image, registry_of
from argotune.steps.registry.layers import Image, extract_image
from argotune.steps.registry.oci import ImageReference

_logger = logging.getLogger(__name__)


def bring_tokenizer(
    params: Params,
    model: Model,
    directory: Path,
    *,
    hub_endpoint: str | None = None,
    free_bytes: Callable[[Path], int] = free_bytes_of,
) -> bool:
    """Put tokenizer and configuration of the plan's model into a directory of their own.

    They come from the model cache if the model is there, else from its source. Returns whether
    they are there: an image in a registry, whose layers do not say which of them has the tokenizer,
    gives none unless the model is in the cache. Raises what the model step would raise:
    ParamsError, PermanentError or TransientError.
    """
    kind, _, place = model.source.partition(":")
    match kind:
        case "cache":
            source, marker = find_in_cache(params, model)
            _take(source, marker.origin, model, directory)
        case "hub":
            origin = Origin(source="hub", version=model.revision)
            if not _take_cached(params, model, origin, directory):
                _download(params, model, origin, directory, hub_endpoint, free_bytes)
        case "dir":
            _take(Path(place), None, model, directory)
        case "oci":
            image = find_image(place, registry_of(params))
            origin = Origin(source=model.source, version=image.digest)
            if _take_cached(params, model, origin, directory):
                return True
            if isinstance(image.reference, ImageReference):
                return False
            _unpack(params, model, image, directory)
        case _:
            raise ParamsError(f"model source {model.source!r} is unknown")
    return True


def _take_cached(params: Params, model: Model, origin: Origin, directory: Path) -> bool:
    source = entry_path(params.cache_dir, model.repository, origin)
    if find_whole(source, params.verify_contents) is None:
        return False
    _take(source, origin, model, directory)
    return True


def _take(source: Path, origin: Origin | None, model: Model, directory: Path) -> None:
    """Copy the files from a whole model, which is in the cache if its origin is known."""
    if not source.is_dir():
        raise PermanentError(f"dir:{source}: no such directory")
    names = model_files((path.name for path in source.iterdir()), model.source)
    with replacing_directory(directory) as partial:
        for name in filter(is_tokenizer_file, names):
            copy_file(source / name, partial / name)
        _finish(partial, origin, model)


def _download(
    params: Params,
    model: Model,
    origin: Origin,
    directory: Path,
    hub_endpoint: str | None,
    free_bytes: Callable[[Path], int],
) -> None:
    marker = read_marker(directory)
    if marker is not None and marker.origin == origin and not damage(directory):
        return
    # Imported here because it takes 0.3 s, and a model in the cache does not need it.
    from argotune.steps.model.hub import Hub

    hub = Hub(timeout_seconds=params.timeout_seconds, endpoint=hub_endpoint, ca_file=params.ca_file)
    with replacing_directory(directory) as partial:
        expected = hub.fetch(
            model,
            partial,
            free_bytes=free_bytes,
            on_progress=lambda done, total: None,
            wanted=is_tokenizer_file,
        )
        _finish(partial, origin, model, expected)


def _unpack(params: Params, model: Model, image: Image, directory: Path) -> None:
    """Extract the files from the layers of an image on this machine."""
    with_weights = set()

    def is_wanted(place: str, name: str) -> bool:
        if is_weights_file(name):
            with_weights.add(place)
        return is_tokenizer_file(name)

    with replacing_directory(directory) as partial:
        scratch = partial / ".image"
        places = extract_image(
            image,
            scratch,
            is_wanted,
            registry=registry_of(params),
            on_progress=lambda done, total: None,
        )
        found = only_model(
            (path for place, path in places.items() if place in with_weights), image.name
        )
        for path in found.iterdir():
            path.rename(partial / path.name)
        shutil.rmtree(scratch)
        _finish(partial, Origin(source=model.source, version=image.digest), model)


def _finish(
    partial: Path, origin: Origin | None, model: Model, expected: dict[str, str] | None = None
) -> None:
    # Metadata of the Hub's library about its downloads.
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    check_config(partial, model)
    remove_code(partial)
    if origin is None:
        files = measure(partial, sorted(path.name for path in partial.iterdir()))
        origin = Origin(source=model.source, version=digest_of(files))
    marker = mark_complete(partial, origin)
    wrong = damaged_files(marker, expected or {})
    if wrong:
        raise arrived_damaged(model, wrong)
    log.event(_logger, "tokenizer", origin=origin, files=len(marker.files), bytes=marker.size)
