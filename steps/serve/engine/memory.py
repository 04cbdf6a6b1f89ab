"""How many answers have room in memory at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from argotune.steps.common.host_memory import host_memory

_SHARE = 0.8
"""Of the free memory for keys and values; the rest is for what a step computes."""


def slots_that_fit(model: Any, max_length: int, most: int, free_bytes: int | None) -> int:
    """Most answers of `max_length` tokens, question included, that fit; at least 1, at most `most`.

    `free_bytes` is None where it is not known; then it is `most`.
    """
    if free_bytes is None:
        return most
    answer_bytes = max_length * token_bytes(model)
    return max(1, min(most, int(free_bytes * _SHARE) // answer_bytes))


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
