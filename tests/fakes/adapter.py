"""A small adapter and its plan, as tune and plan leave them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.contracts.serving import Adapter, Base, ServingContract, write_contract
from argotune.steps.contracts.training_plan import TrainingPlan, write_plan
from tests.fakes.plans import small_plan

_CONTRACT = ServingContract(
    base=Base(
        repository="argotune/tiny",
        revision="0" * 40,
        family="phi3",
        source="made",
        digest=f"sha256:{64 * 'b'}",
    ),
    adapter=Adapter(name="phi-tuned", r=8, alpha=8, target_modules=["qkv_proj"]),
    quantization="nf4",
    chat_template="{{ messages }}",
    stop_tokens=["<|end|>"],
    stop_token_ids=[7],
    max_length=512,
    longest_row=300,
    rope="default",
)


def safetensors(content: bytes = b"\0" * 64, shape: Sequence[int] = ()) -> bytes:
    """A file with one float32 tensor, or one that only says that it has another shape."""
    tensor = {
        "dtype": "F32",
        "shape": list(shape) or [len(content) // 4],
        "data_offsets": [0, len(content)],
    }
    header = json.dumps({"base_model.weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + content


def write_adapter(directory: Path) -> Path:
    """The files of a whole adapter."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter_config.json").write_text('{"r": 8, "peft_type": "LORA"}')
    (directory / "adapter_model.safetensors").write_bytes(safetensors())
    write_contract(directory, _CONTRACT)
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    return directory


def write_base(directory: Path, **base: str) -> None:
    """Have the adapter say that it was tuned on another base."""
    changed = msgspec.structs.replace(_CONTRACT.base, **base)
    write_contract(directory, msgspec.structs.replace(_CONTRACT, base=changed))


def write_model(directory: Path, adapter: Path) -> None:
    """Write a model into the cache, and have the adapter say that it was tuned on it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    marker = mark_complete(directory, Origin(source="made", version=40 * "0"))
    write_base(adapter, digest=marker.digest)


def write_tiny_plan(path: Path) -> TrainingPlan:
    """Write the plan of a run with preset tiny, and return it."""
    small = small_plan()
    model = msgspec.structs.replace(small.model, revision="0" * 40)
    plan = msgspec.structs.replace(small, name="phi-tuned", method="qlora", model=model)
    write_plan(path, plan)
    return plan
