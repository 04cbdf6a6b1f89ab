"""Bring the base model's weights into the cache, once per version of their source."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import free_bytes_of, fsync, locked, remove_directory, remove_partials
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import (
    MARKER,
    Marker,
    cache_path,
    damage,
    entry_path,
    mark_complete,
    old_cache_path,
    read_marker,
)
from argotune.steps.contracts.service_plan import read_planned_model
from argotune.steps.contracts.start_adapter import StartAdapter
from argotune.steps.contracts.training_plan import Model, read_plan
from argotune.steps.model.files import arrived_damaged, check_config, check_model, damaged_files
from argotune.steps.model.live import bring_live_adapter
from argotune.steps.model.params import Params, Result
from argotune.steps.model.sources import Source, find_source
from argotune.steps.model.start import bring_start_adapter, check_base
from argotune.steps.registry.skopeo import Registry

_logger = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    hub_endpoint: str | None = None,
    free_bytes: Callable[[Path], int] = free_bytes_of,
) -> Result:
    """Bring the adapters that the run needs onto the volume, and the model into the cache.

    What is there is not fetched again. Raises PermanentError, TransientError or ParamsError.
    """
    work_dir = params.work_dir
    # A service without training has a plan of another kind, and no volume to bring adapters onto.
    plan = read_plan(params.plan_file) if work_dir is not None else None
    start = StartAdapter()
    # Adapters first, because they are small: one that does not fit is refused before gigabytes are
    # fetched. The one in service may be the one to begin with.
    if plan is not None and work_dir is not None:
        if params.output_image:
            registry = _output_registry(params)
            bring_live_adapter(work_dir, params.output_image, plan.name, registry)
        start = bring_start_adapter(params, plan)
    result = bring_model(
        params, progress=progress, hub_endpoint=hub_endpoint, free_bytes=free_bytes
    )
    if start.digest and plan is not None and work_dir is not None:
        check_base(work_dir, plan, params.cache_dir / result.model_dir)
    return result


def _output_registry(params: Params) -> Registry:
    return Registry(
        auth_file=params.push_auth_file,
        secret=params.push_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )


def bring_model(
    params: Params,
    *,
    progress: Progress,
    hub_endpoint: str | None = None,
    free_bytes: Callable[[Path], int] = free_bytes_of,
) -> Result:
    """Bring the model into the cache, unless what its source has now is already there.

    Raises PermanentError, TransientError or ParamsError.
    """
    model = read_planned_model(params.plan_file)
    if model.source == "cache":
        return _in_cache(params, model)
    source = find_source(
        params, model, progress=progress, hub_endpoint=hub_endpoint, free_bytes=free_bytes
    )
    directory = entry_path(params.cache_dir, model.repository, source.origin)
    found = find_whole(directory, params.verify_contents)
    if found is not None:
        check_config(directory, model)
        log.event(_logger, "model-found", origin=source.origin, bytes=found.size)
        return _result(params, directory, found, cached=True)
    with locked(directory.with_name(f".{directory.name}.lock"), on_wait=_tell_of_waiting):
        # The previous holder of the lock may have brought the model.
        remove_partials(directory.parent, directory.name)
        found = find_whole(directory, params.verify_contents)
        if found is not None:
            check_config(directory, model)
            return _result(params, directory, found, cached=True)
        # Kept after a kill, unlike other partial files: the download goes on from it.
        partial = directory.with_name(f".{directory.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        marker = _finish(source, partial, directory, model)
    return _result(params, directory, marker, cached=False)


def _in_cache(params: Params, model: Model) -> Result:
    """The model that the preset names, which somebody has brought before."""
    directory, found = find_in_cache(params, model)
    check_config(directory, model)
    log.event(_logger, "model-found", origin=found.origin, bytes=found.size)
    return _result(params, directory, found, cached=True)


def find_in_cache(params: Params, model: Model) -> tuple[Path, Marker]:
    """Directory and marker of what the preset names. Raises PermanentError if it is not there."""
    directory = cache_path(params.cache_dir, model.repository, model.revision)
    found = find_whole(directory, params.verify_contents)
    if found is None:
        raise PermanentError(_not_in_cache(params, model, directory))
    return directory, found


def _tell_of_waiting() -> None:
    log.event(_logger, "waiting", reason="another run is downloading this model")


def find_whole(directory: Path, verify_contents: bool) -> Marker | None:
    """The marker of a model in the cache; None if it is missing, damaged or of unknown origin."""
    marker = read_marker(directory)
    if marker is None or marker.origin is None:
        return None
    problems = damage(directory, read_contents=verify_contents)
    for problem in problems:
        log.warn(_logger, "model-damaged", directory=directory, problem=problem)
    return None if problems else marker


def _finish(source: Source, partial: Path, directory: Path, model: Model) -> Marker:
    """Fetch and check the files, write the marker, and give the directory its final name."""
    expected = source.fetch(partial)
    check_model(partial, model)
    marker = mark_complete(partial, source.origin)
    wrong = damaged_files(marker, expected)
    if wrong:
        for name in [*wrong, MARKER]:
            (partial / name).unlink()
        raise arrived_damaged(model, wrong)
    # Metadata of the Hub's library about its downloads.
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    remove_directory(directory)
    fsync(partial)
    partial.rename(directory)
    fsync(directory.parent)
    log.event(_logger, "model-cached", origin=source.origin, bytes=marker.size)
    return marker


def _not_in_cache(params: Params, model: Model, directory: Path) -> str:
    advice = (
        "`argotune tiny` makes it on the machine of `argotune run`; on a cluster submit"
        " workflows/demo/tiny-weights.yaml once"
        if model.preset == "tiny"
        else "use model-source hub, or dir:DIRECTORY with a directory that has these files"
    )
    old = old_cache_path(params.cache_dir, model.repository, model.revision)
    if read_marker(old) is not None:
        advice += f"; {old} is of an earlier layout, which does not say where its files come from"
    problems = f" or incomplete ({'; '.join(damage(directory))})" if directory.exists() else ""
    return f"preset {model.preset} is missing in the model cache {directory}{problems}; {advice}"


def _result(params: Params, directory: Path, marker: Marker, *, cached: bool) -> Result:
    return Result(
        model_dir=directory.relative_to(params.cache_dir).as_posix(),
        size_gb=round(marker.size / 1e9, 6),
        cached=cached,
        origin=str(marker.origin),
    )
