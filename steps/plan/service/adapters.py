"""The adapters of a service: found, fetched, and held to the base model before a node is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from argotune.presets.loader import model_presets
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fs import remove_directory
from argotune.steps.contracts.lora_config import change_of_base
from argotune.steps.contracts.service_plan import (
    ADAPTERS,
    AskedAdapter,
    ServedAdapter,
    directory_of,
)
from argotune.steps.contracts.serving import FILE_NAME, ServingContract, read_contract
from argotune.steps.contracts.vllm import unservable_config
from argotune.steps.plan.adapter_images import with_found_digest
from argotune.steps.plan.service.make import FoundAdapters
from argotune.steps.registry.adapter import copy_adapter, unpack_adapter
from argotune.steps.registry.oci import parse_reference
from argotune.steps.registry.skopeo import Registry

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


def fetch_adapters(
    asked: Sequence[AskedAdapter],
    preset: ModelPreset,
    work_dir: Path,
    registry: Registry,
    volume_dir: Path | None,
) -> FoundAdapters:
    """Bring the adapters onto the volume, and compare them with the base and with each other.

    Raises ParamsError with all that do not fit, another StepError for what cannot be fetched.
    """
    fetched = [_fetch(each, work_dir / ADAPTERS, registry, volume_dir) for each in asked]
    places = {each.name: work_dir / ADAPTERS / directory_of(each) for each in fetched}
    contracts = {name: _contract_of(place) for name, place in places.items()}
    configs = {name: _config_of(place) for name, place in places.items()}
    problems, warnings = list[str](), list[str]()
    for each in fetched:
        contract, config = contracts[each.name], configs[each.name]
        problems += _problems_of(each, contract, config, preset)
        if contract is None:
            warnings += _warnings_of(each, config, preset)
    known = {name: contract for name, contract in contracts.items() if contract is not None}
    ropes = {contract.rope for contract in known.values()}
    if len(ropes) > 1:
        ways = ", ".join(f"{name} with the {each.rope} ones" for name, each in known.items())
        problems.append(
            f"adapters: they were trained with different rotary factors, and one server has one:"
            f" {ways}; serve them apart"
        )
    if problems:
        raise ParamsError(problems)
    return FoundAdapters(
        adapters=fetched,
        file_bytes=sum((place / _WEIGHTS).stat().st_size for place in places.values()),
        largest_rank=max(map(_rank_of, configs.values()), default=0),
        reasons_against_vllm=[
            f"{name}: {reason}"
            for name, config in configs.items()
            if (reason := unservable_config(config))
        ],
        rope=ropes.pop() if ropes else None,
        warnings=warnings,
    )


def _fetch(
    asked: AskedAdapter, directory: Path, registry: Registry, volume_dir: Path | None
) -> ServedAdapter:
    if asked.image:
        try:
            image = with_found_digest(parse_reference(asked.image), registry)
        except ValueError as error:
            raise ParamsError(f"adapters: {asked.name}: {error}") from error
        found = _served(asked, str(image), image.digest or "")
        unpack_adapter(image, directory / directory_of(found), registry)
        return found
    if volume_dir is None or not volume_dir.is_dir():
        raise ParamsError(
            f"adapters: {asked.name}: it has no image, and no claim is mounted; name an image, or a"
            " PersistentVolumeClaim with its files"
        )
    copied = directory / f".{asked.name}.copied"
    found = _served(asked, "", copy_adapter(volume_dir, copied))
    place = directory / directory_of(found)
    remove_directory(place)
    copied.rename(place)
    return found


def _served(asked: AskedAdapter, image: str, digest: str) -> ServedAdapter:
    return ServedAdapter(name=asked.name, image=image, strength=asked.strength, digest=digest)


def _contract_of(place: Path) -> ServingContract | None:
    return read_contract(place) if (place / FILE_NAME).is_file() else None


def _config_of(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / _CONFIG).read_bytes())
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _rank_of(config: Mapping[str, Any]) -> int:
    rank = config.get("r")
    return rank if isinstance(rank, int) else 0


def _problems_of(
    adapter: ServedAdapter,
    contract: ServingContract | None,
    config: dict[str, Any],
    preset: ModelPreset,
) -> Iterator[str]:
    kind = config.get("peft_type")
    if kind != "LORA":
        yield f"adapters: {adapter.name}: peft_type {kind!r} in {_CONFIG}; only LORA is served"
    if reason := change_of_base(config):
        yield f"adapters: {adapter.name}: {reason}"
    if adapter.strength != 1 and config.get("use_dora"):
        yield (
            f"adapters: {adapter.name}: strength {adapter.strength:g} of a DoRA adapter, whose"
            " weights are no sum with the base's; leave strength out"
        )
    if contract is not None and not _is_of(contract, preset):
        base = contract.base
        yield (
            f"adapters: {adapter.name}: it was tuned on {base.repository}@{base.revision[:19]}, and"
            f" the service has {preset.repository}@{preset.revision[:19]}"
        )
    other = None if contract is not None else _other_preset(config, preset)
    if other is not None:
        yield (
            f"adapters: {adapter.name}: it was tuned on {other.repository}, and the service has"
            f" {preset.repository}"
        )


def _is_of(contract: ServingContract, preset: ModelPreset) -> bool:
    """Whether the base is the preset's; weights of another source the server compares by digest."""
    base = contract.base
    if base.source not in ("hub", "made"):
        return True
    return (base.repository, base.revision) == (preset.repository, preset.revision)


def _other_preset(config: dict[str, Any], preset: ModelPreset) -> ModelPreset | None:
    named = str(config.get("base_model_name_or_path")).lower()
    found = next((each for each in model_presets() if each.repository.lower() == named), None)
    return found if found is not None and found.name != preset.name else None


def _warnings_of(
    adapter: ServedAdapter, config: dict[str, Any], preset: ModelPreset
) -> Iterator[str]:
    named = config.get("base_model_name_or_path")
    if str(named).lower() != preset.repository.lower():
        yield (
            f"adapter {adapter.name}: its base is named {named!r}, so whether it is"
            f" {preset.repository} is found out by its shapes alone"
        )
    yield (
        f"adapter {adapter.name}: it has no {FILE_NAME}, so it is served with the base model's chat"
        " template and stop tokens"
    )
