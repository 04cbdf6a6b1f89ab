"""Adapters of preset tiny in an OCI layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from argotune.presets.loader import model_preset
from argotune.steps.contracts.serving import Rope, read_contract, write_contract
from argotune.steps.push.layout import write_image
from tests.fakes.adapter import safetensors, write_adapter, write_base

TINY = model_preset("tiny")


def put_adapter(
    tmp_path: Path,
    tag: str,
    *,
    quantization: str | None = "nf4",
    rope: Rope = "default",
    weights: bytes = safetensors(),
    **base: Any,
) -> str:
    """An adapter with a tag; its reference."""
    adapter = write_adapter(tmp_path / tag)
    write_base(adapter, **{"repository": TINY.repository, "revision": TINY.revision, **base})
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    contract = read_contract(adapter)
    changed = msgspec.structs.replace(contract, quantization=quantization, rope=rope)
    write_contract(adapter, changed)
    layout = tmp_path / "dist"
    write_image(layout, list(adapter.iterdir()), tag=tag, created="2026", annotations={})
    return f"oci:{layout}:{tag}"
