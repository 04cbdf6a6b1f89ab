"""Bring the adapter with whose weights training begins, and refuse one that does not fit.

How many runs have begun with another adapter's weights since one that did not stands in the
annotations of each image, also of a rejected one, so that the registry alone tells when the next
full training is due.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import remove_directory, replacing_directory
from argotune.steps.contracts import live_adapter
from argotune.steps.contracts.adapter_image import CREATED, WARM_STARTS, WORKSPACE
from argotune.steps.contracts.live_adapter import read_live_adapter
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.serving import FILE_NAME, read_contract
from argotune.steps.contracts.start_adapter import (
    DIRECTORY,
    LIVE,
    NONE,
    StartAdapter,
    read_start_adapter,
    write_start_adapter,
)
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.model.params import Params
from argotune.steps.registry.adapter import unpack_adapter
from argotune.steps.registry.oci import (
    DEFAULT_TAG,
    ImageReference,
    LayoutReference,
    parse_reference,
    with_digest,
)
from argotune.steps.registry.skopeo import Refused, Registry
from argotune.steps.registry.versions import Adapter, find_live, list_versions, repository_of

_LOGGER = logging.getLogger(__name__)
_CONFIG = "adapter_config.json"


def bring_start_adapter(params: Params, plan: TrainingPlan) -> StartAdapter:
    """Put the plan's adapter to begin with on the run's volume, once for a run.

    It is not pulled if the adapter in service is the same one, and on the volume.

    Raises:
        PermanentError: Where there is none, or its shape is not that of the plan.
        TransientError: If the registry does not answer.
    """
    wanted, work_dir = plan.lora.start_from, params.work_dir
    if wanted == NONE or work_dir is None:
        return StartAdapter()
    known = read_start_adapter(work_dir)
    if known is not None:
        return known
    image = parse_reference(params.output_image if wanted == LIVE else wanted)
    registry = _registry_of(image, params)
    found = _find(image, registry, plan)
    start = StartAdapter() if found is None else _start(found, params, plan)
    if start.digest:
        _unpack(with_digest(image, start.digest), work_dir, registry)
        check_shape(work_dir / DIRECTORY, plan, wanted)
    log.event(_LOGGER, "start-adapter", start_from=wanted, begins_with=start.title)
    write_start_adapter(work_dir, start)
    return start


def _unpack(image: ImageReference | LayoutReference, work_dir: Path, registry: Registry) -> None:
    """Extract the adapter; the one in service may be on the volume already."""
    directory, live = work_dir / DIRECTORY, read_live_adapter(work_dir)
    if live is None or not live.is_there or live.digest != image.digest:
        remove_directory(directory)
        unpack_adapter(image, directory, registry)
        return
    with replacing_directory(directory) as files:
        shutil.copytree(work_dir / live_adapter.DIRECTORY, files, dirs_exist_ok=True)


def check_base(work_dir: Path, plan: TrainingPlan, model_dir: Path) -> None:
    """Raise PermanentError if the adapter was made for other weights than those in the cache.

    An adapter of argotune names their digest, another one repository and revision.
    """
    directory, wanted = work_dir / DIRECTORY, plan.lora.start_from
    origin, digest = base_of(model_dir)
    repository = plan.model.repository if origin.is_of_preset else origin.source
    now: dict[str, Any] = {"base model": repository, "revision": origin.version, "digest": digest}
    if (directory / FILE_NAME).is_file():
        base = read_contract(directory).base
        # Adapters of an earlier version have no digest.
        then: list[Any] = [base.repository, base.revision, base.digest or digest]
    else:
        config = _read_config(directory)
        then = [config.get("base_model_name_or_path"), config.get("revision"), digest]
    advice = "an adapter learns for one set of weights"
    _refuse_differences(dict(zip(now, then, strict=True)), now, wanted, advice)


def check_shape(directory: Path, plan: TrainingPlan, wanted: str) -> None:
    """Raise PermanentError if the adapter has another rank, layers or kind than the plan's."""
    config = _read_config(directory)
    targets = config.get("target_modules")
    then = {
        "peft_type": config.get("peft_type"),
        "r": config.get("r"),
        "lora_alpha": config.get("lora_alpha"),
        "target_modules": sorted(targets) if isinstance(targets, list) else targets,
        "use_rslora": config.get("use_rslora", False),
        "use_dora": config.get("use_dora", False),
        # What every plan has.
        "bias": config.get("bias", "none"),
        "modules_to_save": config.get("modules_to_save") or None,
        "rank_pattern": config.get("rank_pattern") or {},
        "alpha_pattern": config.get("alpha_pattern") or {},
    }
    now = {
        "peft_type": "LORA",
        "r": plan.lora.r,
        "lora_alpha": plan.lora.alpha,
        "target_modules": sorted(plan.lora.target_modules),
        "use_rslora": plan.lora.use_rslora,
        "use_dora": plan.lora.use_dora,
        "bias": "none",
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    _refuse_differences(then, now, wanted, "set LoraConfig as the adapter has it")


def _refuse_differences(
    then: dict[str, Any], now: dict[str, Any], wanted: str, advice: str
) -> None:
    differences = [
        f"{name} is {_text(then[name])} there, and {_text(now[name])} in this run"
        for name in now
        if then[name] != now[name]
    ]
    if differences:
        raise PermanentError(
            f"start-from {wanted}: the adapter does not fit: {'; '.join(differences)}; {advice},"
            f" or leave start-from out to train a new one"
        )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _find(
    image: ImageReference | LayoutReference, registry: Registry, plan: TrainingPlan
) -> Adapter | None:
    """The adapter to begin with; None before the first one is in service."""
    repository, wanted = repository_of(image, registry), plan.lora.start_from
    if wanted == LIVE:
        with _first_run_explained("start-from live", "take start-from none"):
            return find_live(repository, plan.name)
    found = repository.find(image.digest or image.tag or DEFAULT_TAG)
    if found is None:
        raise PermanentError(f"start-from {wanted}: there is no such image; check its tag")
    return found


@contextlib.contextmanager
def _first_run_explained(setting: str, advice: str) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise PermanentError(
            f"{setting}: {error}; or the repository does not exist yet, which some registries"
            f" answer so: {advice} for the first run"
        ) from error


def _start(found: Adapter, params: Params, plan: TrainingPlan) -> StartAdapter:
    every = params.full_retrain_every
    # Without full trainings nobody needs the count of all runs, which takes a look at all versions.
    last = _pushed_last(params, plan.name) if every and params.output_image else found
    warm_starts = _count_warm_starts(last) + 1
    if every and warm_starts >= every:
        log.event(_LOGGER, "full-retrain", every=every)
        return StartAdapter()
    return StartAdapter(digest=found.digest, warm_starts=warm_starts)


def _pushed_last(params: Params, workspace: str) -> Adapter | None:
    """The workspace's newest adapter in the output's repository; one that never served counts."""
    image = parse_reference(params.output_image)
    with _first_run_explained("full-retrain-every", "leave it out"):
        versions = list_versions(repository_of(image, _registry_of(image, params)))
    adapters = [version.adapter for version in versions]
    its_own = [each for each in adapters if each.annotations.get(WORKSPACE, workspace) == workspace]
    return max(its_own, key=lambda each: each.annotations.get(CREATED, ""), default=None)


def _count_warm_starts(adapter: Adapter | None) -> int:
    if adapter is None:
        return 0
    try:
        return int(adapter.annotations.get(WARM_STARTS, "0"))
    except ValueError as error:
        raise PermanentError(
            f"{adapter.digest}: annotation {WARM_STARTS} is not a number; push the adapter again"
        ) from error


def _registry_of(image: ImageReference | LayoutReference, params: Params) -> Registry:
    """How to reach the image: with the output's login in its registry, else with the weights'."""
    output = parse_reference(params.output_image) if params.output_image else None
    is_outputs = getattr(image, "registry", "") == getattr(output, "registry", None)
    return Registry(
        auth_file=params.push_auth_file if is_outputs else params.auth_file,
        secret=params.push_secret if is_outputs else params.access_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / _CONFIG
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise PermanentError(f"{path}: not the configuration of an adapter: {error}") from error
