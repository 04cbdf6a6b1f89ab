"""The accelerator of this machine and the data types for computing on it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import torch

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import Planned, prepare_gpu
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import TrainingPlan

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_KEPT_BYTES = 32 * 2**20
"""glibc's upper limit for M_MMAP_THRESHOLD."""
_MOST_KEPT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Device:
    """Device and data types of a model."""

    torch_device: torch.device
    weights: torch.dtype
    """Type of frozen weights that are not 4-bit, and of 4-bit weights after dequantization."""
    autocast: torch.dtype | None
    """Type of the matrix products of the fp32 adapters; None: fp32."""

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """The autocast context for forward passes."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.autocast)

    def seed(self, number: int) -> None:
        """Seed this device's generator.

        torch.manual_seed would seed the generators of all device types, and without CUDA it queues
        each call for a later initialization of CUDA, which takes 0.7 ms and memory.
        """
        if self.torch_device.type == "cuda":
            torch.cuda.manual_seed(number)
        else:
            torch.default_generator.manual_seed(number)


def find_device(
    rank: int = 0,
    *,
    cuda: Cuda = TORCH,
    machine_for: Callable[[float], str] = lambda _: "an A10",
) -> Device:
    """CUDA device `rank`, else the CPU.

    `machine_for` names a machine with at least so many GiB of GPU memory, for the message. Raises
    PermanentError for a GPU on which torch cannot compute, or which has no bfloat16.
    """
    # torch prefers cuDNN's attention on Hopper and Blackwell, but cuDNN plans every new shape, 0.44
    # s forward and 0.55 s backward on a B200 (modelscope/FunASR, issue 3704), and packs differ in
    # shape.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if not cuda.count():
        keep_freed_memory()
        return Device(torch.device("cpu"), torch.float32, None)
    prepare_gpu(rank, cuda=cuda)
    if not cuda.has_bfloat16(rank):
        gpu = cuda.gpu(rank)
        raise PermanentError(
            f"{gpu.name} has no bfloat16, and in fp16 one in five QLoRA runs of a 7B model ends in "
            "NaN; use an Ampere GPU or newer, such as "
            f"{machine_for(gpu.memory_gib)}"
        )
    return Device(torch.device("cuda", rank), torch.bfloat16, torch.bfloat16)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for later tensors, as CUDA's allocator does.

    New pages from the kernel take as long as the arithmetic that fills them.
    """
    # Other C libraries have no such call.
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


def planned_gpus(plan: TrainingPlan) -> Planned:
    """The GPUs that a plan is for, and the memory that its model needs on each."""
    memory, hardware = plan.memory, plan.hardware
    # What training takes beside these is the activations, of which most can be recomputed.
    least_gb = memory.weights_gb + memory.lora_gb + memory.context_gb
    return Planned(
        count=hardware.gpus and (plan.execution.processes or hardware.gpus),
        model=hardware.gpu_model,
        memory_gib=hardware.gpu_memory_gib,
        least_gb=least_gb,
    )
