"""What the steps ask of torch about CUDA devices, behind one small interface.

The rest of the package decides by the answers, and tests give answers that no machine of theirs
has: a driver that is too old, a vGPU, a card without memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_EXPANDABLE = "expandable_segments:True"
_TRIAL_BYTES = 32 * 2**20
"""More than one segment of torch's allocator, so that it maps memory anew."""
# NVIDIA's names of vGPUs end with memory in GB and the series: NVIDIA A10-24Q, GRID T4-2B4.
_VIRTUAL = re.compile(r"-\d+[ABCQ]\d*$")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One CUDA device that torch can use."""

    name: str
    """As the driver gives it, e.g. NVIDIA A10-24Q."""
    memory_gib: float
    capability: tuple[int, int]
    """Compute capability, e.g. (8, 6)."""

    @property
    def is_virtual(self) -> bool:
        """Whether it is a vGPU, a share of a card that the hypervisor hands out."""
        return _VIRTUAL.search(self.name) is not None

    def __str__(self) -> str:
        major, minor = self.capability
        return f"{self.name}, {self.memory_gib:.0f} GiB, compute capability {major}.{minor}"


class Cuda(Protocol):
    """The questions about CUDA devices."""

    built_for: str | None
    """CUDA version that torch is built for, e.g. 13.2; None: torch has no CUDA."""

    def count(self) -> int:
        """Number of devices that torch can use; creates no context on them."""

    def refusal(self) -> str:
        """Torch's own reason for using no device; empty if it gives none."""

    def gpu(self, rank: int) -> Gpu:
        """The device of this number; creates no context on it."""

    def driver_version(self) -> str | None:
        """Version of NVIDIA's driver, e.g. 550.54.15; None if it is not known."""

    def has_bfloat16(self, rank: int) -> bool:
        """Whether the device computes in bfloat16 itself."""

    def has_expandable_segments(self) -> bool:
        """Whether torch's allocator is to map more memory into its segments as they grow."""

    def use_fixed_segments(self) -> None:
        """Let torch's allocator use fixed segments from now on."""

    def try_allocation(self, rank: int) -> None:
        """Allocate memory on the device and compute with it. Raises RuntimeError with the cause."""


class _TorchCuda:
    """The answers of torch and of the driver."""

    built_for = torch.version.cuda

    def count(self) -> int:
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def refusal(self) -> str:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        # AssertionError: torch is built without CUDA.
        except (RuntimeError, AssertionError) as error:
            return str(error)
        return ""

    def gpu(self, rank: int) -> Gpu:
        found = torch.cuda.get_device_properties(rank)
        return Gpu(
            name=found.name,
            memory_gib=found.total_memory / 2**30,
            capability=(found.major, found.minor),
        )

    def driver_version(self) -> str | None:
        try:
            found = re.search(r"\b\d{3,}(\.\d+)+\b", _DRIVER_FILE.read_text())
        except OSError:
            return None
        return found[0] if found else None

    def has_bfloat16(self, rank: int) -> bool:
        with torch.cuda.device(rank):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))

    def has_expandable_segments(self) -> bool:
        return _EXPANDABLE in torch._C._accelerator_getAllocatorSettings()

    def use_fixed_segments(self) -> None:
        # The whole text: what it does not name goes back to torch's defaults.
        settings = torch._C._accelerator_getAllocatorSettings()
        fixed = settings.replace(_EXPANDABLE, "expandable_segments:False")
        torch._C._accelerator_setAllocatorSettings(fixed)

    def try_allocation(self, rank: int) -> None:
        trial = torch.ones(_TRIAL_BYTES, dtype=torch.uint8, device=torch.device("cuda", rank))
        trial.add_(1)
        torch.cuda.synchronize(rank)


TORCH: Cuda = _TorchCuda()
"""The machine that the step runs on."""
