"""A machine's CUDA devices as its torch would describe them; no such machine is needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from argotune.steps.accelerator.cuda import Gpu

A10 = Gpu(name="NVIDIA A10", memory_gib=22.5, capability=(8, 6))
A10_VIRTUAL = Gpu(name="NVIDIA A10-24Q", memory_gib=24.0, capability=(8, 6))
V100 = Gpu(name="Tesla V100", memory_gib=16.0, capability=(7, 0))

NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed "
    "a driver from http://www.nvidia.com/Download/index.aspx"
)
OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/"
    "Download/index.aspx Alternatively, go to: https://pytorch.org to install a PyTorch version "
    "that has been compiled with your version of the CUDA driver."
)
UNSUPPORTED = "CUDA driver error: operation not supported"
"""What PyTorch says where a vGPU's driver has no virtual memory management."""


@dataclass
class FakeCuda:
    """Answers as the fields say, and remembers what was set."""

    gpus: list[Gpu] = field(default_factory=list)
    reason: str = NO_DRIVER
    driver: str | None = "580.95.05"
    bfloat16: bool = True
    expandable: bool = True
    maps_memory: bool = True
    """Whether the driver has the calls for expandable segments."""
    failure: str = ""
    """Why nothing can be computed on the devices; empty: it can."""
    built_for: str | None = "13.2"
    allocations: int = 0

    def count(self) -> int:
        return len(self.gpus)

    def refusal(self) -> str:
        return "" if self.gpus else self.reason

    def gpu(self, rank: int) -> Gpu:
        return self.gpus[rank]

    def driver_version(self) -> str | None:
        return self.driver

    def has_bfloat16(self, rank: int) -> bool:
        return self.bfloat16

    def has_expandable_segments(self) -> bool:
        return self.expandable

    def use_fixed_segments(self) -> None:
        self.expandable = False

    def try_allocation(self, rank: int) -> None:
        if self.failure:
            raise RuntimeError(self.failure)
        if self.expandable and not self.maps_memory:
            raise RuntimeError(UNSUPPORTED)
        self.allocations += 1
