"""Parameters and results of the plan step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.nodes.providers import ProviderName


@dataclass(frozen=True, kw_only=True)
class Params:
    """Resolve the configuration into one plan; refuse what cannot fit before it costs money."""

    name: str
    """Name of the workspace, a DNS label; also of the service and of the served adapter."""
    preset: str
    """Model preset, one of `argotune presets`."""
    method: Literal["lora", "qlora"] = "qlora"
    """lora tunes on 16-bit weights, qlora on 4-bit ones."""
    config: str = ""
    """Kaito's training_config.yaml as text; empty for the preset's defaults."""
    instance_type: str | None = None
    """Cloud SKU of the GPU node, e.g. Standard_NC24ads_A100_v4; empty: this machine."""
    provider: ProviderName = "local"
    """Where the GPU comes from. local: this machine, with a GPU or without; else a node of a
    cluster, which is taken to have a GPU where the model needs one."""
    model_source: str | None = None
    """Where the weights come from instead of the preset's own place: hub, oci:IMAGE or
    dir:DIRECTORY."""
    plan_file: Path | None = None
    """File to write the plan to, YAML; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Result:
    plan: str
    """The whole plan as YAML."""
    model: str
    """Repository and revision of the base model, REPOSITORY@REVISION."""
    gpus: int
    """GPUs that the node must have; 0 for this machine without one."""
    disk_gib: int
    """OS disk of the GPU node, GiB."""
    alternatives: tuple[str, ...]
    """Further SKUs on which the plan runs as it is, cheapest first, a JSON list: with as many GPUs
    and at most twice the price."""
    memory_gb: float
    """Estimated peak memory of one GPU, decimal GB."""
    warnings: str
    """What the plan changed or wants known, one line each."""
