from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.presets.loader import model_preset
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.model.params import Params
from argotune.steps.plan.assemble import model_of
from tests.fakes.hub import FakeHub, fake_hub
from tests.fakes.plans import small_plan


def safetensors(data: bytes = b"\x00" * 64, *, name: str = "weight") -> bytes:
    """A safetensors file with one tensor."""
    header = {name: {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def config(**changes: Any) -> dict[str, Any]:
    """config.json of preset tiny."""
    architecture = msgspec.to_builtins(model_preset("tiny").architecture)
    return {**architecture, "model_type": "phi3", **changes}


def model_files(**extra: bytes) -> dict[str, bytes]:
    """The files of a small model."""
    return {
        "config.json": json.dumps(config()).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "model.safetensors": safetensors(bytes(range(256)) * 4000),
    } | extra


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with fake_hub() as fake:
        fake.repositories["owner/model"] = model_files()
        yield fake


@pytest.fixture
def new_params(tmp_path: Path) -> Callable[..., Params]:
    """Parameters of a plan whose model section has these values."""

    def make(*, verify_contents: bool = False, **model: Any) -> Params:
        values: dict[str, Any] = {"preset": "tiny", "repository": "owner/model"} | model
        values["shape"] = model_of(model_preset(values["preset"]), None).shape
        plan = small_plan()
        section = msgspec.structs.replace(plan.model, **values)
        write_plan(tmp_path / "plan.yaml", msgspec.structs.replace(plan, model=section))
        return Params(
            plan_file=tmp_path / "plan.yaml",
            cache_dir=tmp_path / "cache",
            timeout_seconds=5.0,
            verify_contents=verify_contents,
        )

    return make
