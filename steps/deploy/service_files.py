"""The files of a service without training: its plan, and its adapters as they are served.

An adapter's strength and the service's longest context are written into a copy of its files, so
that any engine follows them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import replacing_directory
from argotune.steps.contracts.service_plan import (
    ADAPTERS,
    PLAN,
    ServedAdapter,
    ServicePlan,
    directory_of,
    read_service_plan,
)
from argotune.steps.contracts.serving import FILE_NAME, read_contract, write_contract

_CONFIG = "adapter_config.json"


def write_service_files(plan_file: Path, destination: Path) -> Path:
    """Write plan-file's service into the directory, unless it exists; it appears when it is whole.

    The adapters are those that the plan step put beside the file. Raises PermanentError where one
    is missing.
    """
    if destination.is_dir():
        return destination
    plan = read_service_plan(plan_file)
    with replacing_directory(destination) as files:
        shutil.copyfile(plan_file, files / PLAN)
        (files / ADAPTERS).mkdir()
        for adapter in plan.adapters:
            source = plan_file.parent / ADAPTERS / directory_of(adapter)
            _copy(adapter, source, files / ADAPTERS / adapter.name, plan)
    return destination


def title_of(plan: ServicePlan) -> str:
    """What is served, in one line: the model, and its adapters with their images."""
    adapters = [f"{each.name} ({each.image or each.digest})" for each in plan.adapters]
    return plan.model.title + (f" with {', '.join(adapters)}" if adapters else "")


def _copy(adapter: ServedAdapter, source: Path, place: Path, plan: ServicePlan) -> None:
    if not source.is_dir():
        raise PermanentError(f"{source}: missing; the plan step brings the adapters there")
    shutil.copytree(source, place)
    if adapter.strength != 1:
        _scale(place / _CONFIG, adapter.strength)
    if (place / FILE_NAME).is_file():
        contract = read_contract(place)
        length = min(contract.max_length, plan.max_length)
        write_contract(place, msgspec.structs.replace(contract, max_length=length))


def _scale(path: Path, strength: float) -> None:
    """Multiply what LoRA adds: the weights' product times alpha by the rank or its root."""
    config: dict[str, Any] = json.loads(path.read_bytes())
    config["lora_alpha"] = strength * config.get("lora_alpha", 8)
    pattern = config.get("alpha_pattern") or {}
    config["alpha_pattern"] = {name: strength * alpha for name, alpha in pattern.items()}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
