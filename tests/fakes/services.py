"""Plans of services without training, with their adapters beside them, as the plan step does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argotune.steps.contracts.service_plan import (
    ADAPTERS,
    PLAN,
    ServedAdapter,
    ServiceMemory,
    ServicePlan,
    directory_of,
    write_service_plan,
)
from argotune.steps.contracts.training_plan import Hardware, Model
from tests.fakes.plans import small_plan

DIGEST = f"sha256:{64 * '5'}"


def service_plan(**values: Any) -> ServicePlan:
    """The plan of a service of preset tiny, with changes."""
    hardware = Hardware(
        instance_type=None,
        gpus=0,
        gpu_model=None,
        gpu_memory_gib=None,
        price_usd_per_hour=None,
        disk_gib=128,
    )
    memory = ServiceMemory(
        weights_gb=0.1, adapters_gb=0.0, context_gb=0.7, answer_gb=0.1, total_gb=0.9
    )
    default: dict[str, Any] = {
        "name": "chat",
        "model": small_plan().model,
        "load_in_4bit": False,
        "max_length": 512,
        "rope": "default",
        "answers": None,
        "hardware": hardware,
        "memory": memory,
    }
    return ServicePlan(**default | values)


def write_service(
    work_dir: Path,
    adapters: Mapping[str, Path],
    *,
    strengths: Mapping[str, float] | None = None,
    model: Model | None = None,
    **values: Any,
) -> Path:
    """Write the plan of a service with these adapters' directories; returns its file."""
    work_dir.mkdir(parents=True, exist_ok=True)
    served = [
        ServedAdapter(
            name=name,
            image=f"registry.example.com/{name}@{DIGEST}",
            digest=DIGEST,
            strength=(strengths or {}).get(name, 1.0),
        )
        for name in adapters
    ]
    for adapter in served:
        place = work_dir / ADAPTERS / directory_of(adapter)
        shutil.copytree(adapters[adapter.name], place)
    plan = service_plan(adapters=served, **({"model": model} if model else {}), **values)
    write_service_plan(work_dir / PLAN, plan)
    return work_dir / PLAN
