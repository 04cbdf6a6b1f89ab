"""What a training ran on: the packages that its result depends on, and the kind of machine.

Equal packages on the same kind of machine give equal adapters, bit for bit on a CPU.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from argotune.steps.causal_lm.device import Device

_PACKAGES = ("transformers", "peft", "bitsandbytes", "safetensors")
_CPUS = Path("/proc/cpuinfo")


def versions_used() -> Mapping[str, str]:
    """Versions of Python and of the packages that are there, by name."""
    # torch's own says for which accelerator it was built.
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine_used(device: Device, processes: int) -> Mapping[str, str]:
    """The kind of the machine: what the order and the width of its sums depend on."""
    kind = device.torch_device.type
    is_gpu = kind == "cuda"
    return {
        "device": kind,
        "model": torch.cuda.get_device_name(device.torch_device) if is_gpu else _cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
    }


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", _CPUS.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()
