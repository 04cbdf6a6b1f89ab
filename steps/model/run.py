"""Download the base model's weights into the cache, once per revision, and verify them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.common.fs import free_bytes_of, fsync, locked, remove_directory, remove_partials
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import (
    MARKER,
    Marker,
    cache_path,
    damage,
    mark_complete,
    read_marker,
)
from argotune.steps.contracts.training_plan import Model, read_plan
from argotune.steps.model.directory import fetch_directory
from argotune.steps.model.files import MAY_NAME_CODE, check_model
from argotune.steps.model.image import fetch_image
from argotune.steps.model.params import Params, Result
from argotune.steps.registry.skopeo import Registry

_logger = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    hub_endpoint: str | None = None,
    free_bytes: Callable[[Path], int] = free_bytes_of,
) -> Result:
    """Download the model into the cache, unless it is already there.

    Raises PermanentError, TransientError or ParamsError.
    """
    model = read_plan(params.plan_file).model
    directory = cache_path(params.cache_dir, model.repository, model.revision)
    found = _whole(directory, params.verify_contents)
    if found is not None:
        log.event(_logger, "model-found", model=model.repository, bytes=found.size)
        return _result(params, directory, found, cached=True)
    if model.source == "cache":
        raise PermanentError(_not_in_cache(model, directory))
    with locked(directory.with_name(f".{directory.name}.lock"), on_wait=_tell_of_waiting):
        # The previous holder of the lock may have downloaded the model.
        remove_partials(directory.parent, directory.name)
        found = _whole(directory, params.verify_contents)
        if found is not None:
            return _result(params, directory, found, cached=True)
        # Kept after a kill, unlike other partial files: the download goes on from it.
        partial = directory.with_name(f".{directory.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        expected = _fetch(params, model, partial, progress, hub_endpoint, free_bytes)
        marker = _finish(partial, directory, model, expected)
    return _result(params, directory, marker, cached=False)


def _tell_of_waiting() -> None:
    log.event(_logger, "waiting", reason="another run is downloading this model")


def _whole(directory: Path, verify_contents: bool) -> Marker | None:
    """The marker of a model in the cache, or None if it is missing or damaged."""
    marker = read_marker(directory)
    if marker is None:
        return None
    problems = damage(directory, read_contents=verify_contents)
    for problem in problems:
        log.warn(_logger, "model-damaged", directory=directory, problem=problem)
    return None if problems else marker


def _fetch(
    params: Params,
    model: Model,
    partial: Path,
    progress: Progress,
    hub_endpoint: str | None,
    free_bytes: Callable[[Path], int],
) -> dict[str, str]:
    """Get the files from the plan's source; returns the known SHA-256 sums by file name."""
    kind, _, place = model.source.partition(":")
    match kind:
        case "hub":
            # Imported here because it takes 0.3 s and a model in the cache does not need it.
            from argotune.steps.model.hub import Hub

            hub = Hub(timeout_seconds=params.timeout_seconds, endpoint=hub_endpoint)
            return hub.fetch(model, partial, free_bytes=free_bytes, on_progress=progress.update)
        case "oci":
            registry = Registry(
                auth_file=params.auth_file, secret=params.access_secret, ca_file=params.ca_file
            )
            fetch_image(place, partial, registry=registry, on_progress=progress.update)
            return {}
        case "dir":
            fetch_directory(Path(place), partial, on_progress=progress.update)
            return {}
    raise ParamsError(
        f"model source {model.source!r}: accepted are hub, oci:IMAGE, dir:DIRECTORY and cache"
    )


def _finish(partial: Path, directory: Path, model: Model, expected: dict[str, str]) -> Marker:
    """Check the files, write the marker, and rename the directory to its final name."""
    check_model(partial, model.family, f"{model.repository} from {model.source}")
    marker = mark_complete(partial)
    wrong = [
        name
        for name, sha256 in expected.items()
        if marker.files[name].sha256 != sha256 and name not in MAY_NAME_CODE
    ]
    if wrong:
        for name in [*wrong, MARKER]:
            (partial / name).unlink()
        raise TransientError(
            f"{model.repository}: {', '.join(wrong)} arrived damaged; a retry downloads them again"
        )
    # Metadata of the Hub's library about its downloads.
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    remove_directory(directory)
    fsync(partial)
    partial.rename(directory)
    fsync(directory.parent)
    log.event(_logger, "model-cached", model=model.repository, bytes=marker.size)
    return marker


def _not_in_cache(model: Model, directory: Path) -> str:
    advice = (
        "create it with `make tiny`"
        if model.preset == "tiny"
        else f"put {model.repository} at {model.revision} there, or use source hub"
    )
    problems = f" or incomplete ({'; '.join(damage(directory))})" if directory.exists() else ""
    return f"preset {model.preset} is missing in the model cache {directory}{problems}; {advice}"


def _result(params: Params, directory: Path, marker: Marker, *, cached: bool) -> Result:
    return Result(
        model_dir=directory.relative_to(params.cache_dir).as_posix(),
        size_gb=round(marker.size / 1e9, 6),
        cached=cached,
    )
