"""Where the weights of a plan come from: what the source has now, and how to fetch it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import Origin, old_cache_path
from argotune.steps.contracts.model_source import files_of_directory, origin_of_directory
from argotune.steps.contracts.training_plan import Model
from argotune.steps.model.directory import fetch_directory
from argotune.steps.model.files import model_files
from argotune.steps.model.image import fetch_image
from argotune.steps.model.params import Params
from argotune.steps.registry.layers import Image, resolve_image
from argotune.steps.registry.oci import parse_image_or_layout
from argotune.steps.registry.skopeo import Registry

Fetch = Callable[[Path], dict[str, str]]
"""Adds the model's files to a directory; returns the SHA-256 sums that the source has for them."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source with what it has now."""

    origin: Origin
    fetch: Fetch


def find_source(
    params: Params,
    model: Model,
    *,
    progress: Progress,
    hub_endpoint: str | None,
    free_bytes: Callable[[Path], int],
) -> Source:
    """Find out what the plan's source has now.

    Raises ParamsError for an unknown kind of source, PermanentError for a source that is not there,
    and TransientError for a registry in trouble.
    """
    kind, _, place = model.source.partition(":")
    match kind:
        case "hub":
            return _hub(params, model, progress, hub_endpoint, free_bytes)
        case "oci":
            return _image(params, place, progress)
        case "dir":
            return _directory(Path(place), progress, free_bytes)
    raise ParamsError(
        f"model source {model.source!r}: accepted are hub, oci:IMAGE, dir:DIRECTORY and cache"
    )


def _hub(
    params: Params,
    model: Model,
    progress: Progress,
    endpoint: str | None,
    free_bytes: Callable[[Path], int],
) -> Source:
    def fetch(directory: Path) -> dict[str, str]:
        # Imported here because it takes 0.3 s and a model in the cache does not need it.
        from argotune.steps.model.hub import Hub

        old = old_cache_path(params.cache_dir, model.repository, model.revision)
        _offer_old_weights(old, directory)
        hub = Hub(timeout_seconds=params.timeout_seconds, endpoint=endpoint, ca_file=params.ca_file)
        return hub.fetch(model, directory, free_bytes=free_bytes, on_progress=progress.update)

    return Source(origin=Origin(source="hub", version=model.revision), fetch=fetch)


def _offer_old_weights(old: Path, directory: Path) -> None:
    """Put weights of the cache's earlier layout where the Hub's library looks for files.

    It takes over those with the Hub's SHA-256 and downloads the others; it never writes into one.
    """
    for path in old.glob("*.safetensors"):
        if not (directory / path.name).exists():
            log.event(_logger, "old-weights", file=path, effect="kept if the Hub has the same sum")
            os.link(path, directory / path.name)


def _image(params: Params, place: str, progress: Progress) -> Source:
    registry = registry_of(params)
    image = find_image(place, registry)

    def fetch(directory: Path) -> dict[str, str]:
        fetch_image(image, directory, registry=registry, on_progress=progress.update)
        return {}

    return Source(origin=Origin(source=f"oci:{place}", version=image.digest), fetch=fetch)


def find_image(place: str, registry: Registry) -> Image:
    """Find out which image `oci:PLACE` names now.

    Raises ParamsError, PermanentError or TransientError.
    """
    try:
        reference = parse_image_or_layout(place)
    except ValueError as error:
        raise ParamsError(f"model source oci:{place}: {error}") from error
    return resolve_image(reference, registry, name=f"oci:{place}")


def registry_of(params: Params) -> Registry:
    """How to reach the registry of weights in an image."""
    return Registry(
        auth_file=params.auth_file,
        secret=params.access_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )


def _directory(directory: Path, progress: Progress, free_bytes: Callable[[Path], int]) -> Source:
    if directory.is_dir():
        # Before gigabytes are read.
        model_files((path.name for path in directory.iterdir()), f"dir:{directory}")
    files = files_of_directory(directory)

    def fetch(target: Path) -> dict[str, str]:
        fetch_directory(
            directory, files, target, free_bytes=free_bytes, on_progress=progress.update
        )
        return {name: file.sha256 for name, file in files.items()}

    return Source(origin=origin_of_directory(directory, files), fetch=fetch)
