"""How many answers have room in memory at once, and which adapters beside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open

from argotune.steps.common.host_memory import host_memory
from argotune.steps.contracts.served import KEYS_AND_VALUES_SHARE

_SHARE_WITH_ADAPTERS = 0.9
"""Of the free memory for keys, values and added adapters, so that some of these have room where the
answers take all of their share."""


def slots_that_fit(model: Any, max_length: int, most: int, free_bytes: int | None) -> int:
    """Most answers of `max_length` tokens, question included, that fit; at least 1, at most `most`.

    `free_bytes` is None where it is not known; then it is `most`.
    """
    if free_bytes is None:
        return most
    answer_bytes = max_length * token_bytes(model)
    return max(1, min(most, int(free_bytes * KEYS_AND_VALUES_SHARE) // answer_bytes))


def room_problem(
    *, answers_bytes: int, others_bytes: int, own_bytes: int, free_bytes: int | None
) -> str | None:
    """Why an adapter has no room beside answers and other added adapters; None: it has.

    Args:
        answers_bytes: Keys and values of all answers at once, the adapter's own included.
        others_bytes: Weights of the other added adapters.
        own_bytes: Its weights.
        free_bytes: What was free when the base had been loaded; None: it is not known.
    """
    if free_bytes is None:
        return None
    most = int(free_bytes * _SHARE_WITH_ADAPTERS)
    if answers_bytes + others_bytes + own_bytes <= most:
        return None
    return (
        f"its weights take {_mb(own_bytes)}, those of other added adapters {_mb(others_bytes)}, and"
        f" the answers up to {_mb(answers_bytes)}, but {_mb(most)} are there for them"
    )


def weights_bytes(adapter_dir: Path) -> int:
    """Memory of an adapter's weights, which PEFT holds in float32.

    0 for what is no file of safetensors, which is refused when it is loaded.
    """
    try:
        with safe_open(adapter_dir / SAFETENSORS_WEIGHTS_NAME, framework="pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0
    return sum(map(math.prod, shapes)) * torch.float32.itemsize


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def token_bytes(model: Any) -> int:
    """Bytes of the keys and values of one token in all blocks of a transformers model."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers: int = 2 * config.num_hidden_layers * config.num_key_value_heads * width
    return numbers * int(model.dtype.itemsize)


def free_memory(device: torch.device, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that are free on the device: of the GPU, of the container's limit, or of the machine.

    None where the machine does not say.
    """
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    machine = _available(meminfo)
    container = host_memory()
    if container is None:
        return machine
    left = max(0, container.limit - container.used)
    return left if machine is None else min(left, machine)


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
