"""The GPUs that a step was planned for against those that it finds, before it spends time on them.

torch takes a GPU that it cannot use for none, and everything runs on the CPU: right, a hundred
times slower, and at the GPU's price.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from argotune.steps.accelerator.cuda import TORCH, Cuda, Gpu
from argotune.steps.common import log
from argotune.steps.common.driver import OLDEST_DRIVER
from argotune.steps.common.errors import PermanentError

_ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
_P2P = "NCCL_P2P_DISABLE"
_USABLE_SHARE = 15 / 16
"""ECC takes a sixteenth of the memory of a card with GDDR6; drivers keep less."""
_GIB = 2**30
_ON_PURPOSE = "--allow-cpu (annotation argotune.dev/allow-cpu) permits the CPU"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The GPUs that a step was planned for."""

    count: int
    """0: it was planned for the CPU, and a GPU that is there is used."""
    model: str | None = None
    """As in the catalog of machines, e.g. A100 80GB; None: any."""
    memory_gib: float | None = None
    """Memory of one GPU; None: any."""
    least_gb: float = 0.0
    """Memory of one GPU without which the step cannot work, decimal GB."""

    def __str__(self) -> str:
        memory = f" with {self.memory_gib:g} GiB" if self.memory_gib else ""
        return f"{self.count} x {self.model or 'GPU'}{memory}"


def check_gpus(planned: Planned, *, allow_cpu: bool, cuda: Cuda = TORCH) -> None:
    """Compare what torch finds with what was planned; other GPUs that will do are a warning.

    Creates no context on a GPU. Raises PermanentError, with torch's reason, for fewer GPUs than
    planned, unless there is none and `allow_cpu` is set, and for those that are too small.
    """
    found = [cuda.gpu(rank) for rank in range(cuda.count())]
    if not found and (allow_cpu or not planned.count):
        _tell_of_the_cpu(planned, cuda)
        return
    log.event(_logger, "gpus", found="; ".join(map(str, found)), driver=cuda.driver_version())
    if len(found) < planned.count:
        raise PermanentError(_too_few(planned, found, cuda))
    for rank, gpu in enumerate(found):
        _check_size(planned, rank, gpu)


def prepare_gpu(rank: int, *, cuda: Cuda = TORCH) -> None:
    """Settle how torch and NCCL use the GPU, before their first allocation on it.

    Raises PermanentError for a GPU on which torch cannot compute.
    """
    # Rows of many lengths fragment fixed segments. torch reads this at the first CUDA allocation.
    os.environ.setdefault(_ALLOCATOR, "expandable_segments:True")
    gpu = cuda.gpu(rank)
    if gpu.is_virtual and _P2P not in os.environ:
        # It hangs or fails there (pytorch/pytorch 105872).
        os.environ[_P2P] = "1"
        log.event(_logger, "no_peer_to_peer", reason=f"{gpu.name} is a vGPU", set=f"{_P2P}=1")
    try:
        _try_allocation(rank, gpu, cuda)
    except RuntimeError as error:
        raise PermanentError(
            f"torch cannot compute on {gpu}: {_first_line(str(error))}{_driver_advice(cuda)}"
        ) from error


def _driver_advice(cuda: Cuda) -> str:
    """The driver that torch needs beside the one that is here; empty if it is new enough."""
    if cuda.built_for is None:
        return "; this torch is built without CUDA: install the one that the lock file names"
    needed, here = OLDEST_DRIVER.get(int(cuda.built_for.split(".")[0])), cuda.driver_version()
    if needed is None or (here is not None and int(here.split(".")[0]) >= needed):
        return ""
    there = f"this node has {here}" if here else "this node shows none"
    return f"; torch for CUDA {cuda.built_for} needs the NVIDIA driver {needed} or later, {there}"


def _try_allocation(rank: int, gpu: Gpu, cuda: Cuda) -> None:
    """Allocate once, with fixed segments where the driver has no others."""
    if not cuda.has_expandable_segments():
        cuda.try_allocation(rank)
        return
    try:
        cuda.try_allocation(rank)
    except RuntimeError as error:
        # vGPUs lack the calls (unslothai/unsloth 1446, dmlc/xgboost 12217).
        cuda.use_fixed_segments()
        cuda.try_allocation(rank)
        log.warn(
            _logger,
            "no_expandable_segments",
            gpu=gpu.name,
            reason=_first_line(str(error)),
            effect="fixed segments, which rows of many lengths fragment",
        )


def _tell_of_the_cpu(planned: Planned, cuda: Cuda) -> None:
    if not planned.count:
        return
    log.warn(
        _logger,
        "no_gpu",
        planned=planned,
        reason=_first_line(cuda.refusal()),
        effect="the CPU computes, because allow-cpu is set",
    )


def _too_few(planned: Planned, found: list[Gpu], cuda: Cuda) -> str:
    if not found:
        reason = _first_line(cuda.refusal()) or "it finds no device"
        return (
            f"{planned} planned, but torch can use no GPU here: {reason}{_driver_advice(cuda)}; "
            f"use a node whose GPU works, see `nvidia-smi` there; {_ON_PURPOSE}"
        )
    there = f"only {len(found)}: {'; '.join(map(str, found))}"
    return (
        f"{planned} planned, but torch can use {there}; request as many from the node as the "
        "plan has, or plan anew for those that it has"
    )


def _check_size(planned: Planned, rank: int, gpu: Gpu) -> None:
    has_gb = gpu.memory_gib * _GIB / 1e9
    if has_gb < planned.least_gb:
        raise PermanentError(
            f"GPU {rank} ({gpu}) has {has_gb:.1f} GB, but weights, adapter and CUDA alone need "
            f"{planned.least_gb:.1f} GB; use the planned machine ({planned}), a larger GPU, or "
            "method qlora"
        )
    smaller = planned.memory_gib and gpu.memory_gib < planned.memory_gib * _USABLE_SHARE
    if smaller or not _is_model(planned.model, gpu):
        effect = "hours and cost differ from the plan's"
        if smaller:
            effect += "; more activations are recomputed if they do not fit"
        log.warn(_logger, "other_gpu", rank=rank, planned=planned, found=gpu, effect=effect)


def _is_model(model: str | None, gpu: Gpu) -> bool:
    """Whether the driver's name, as NVIDIA A100-SXM4-80GB, has the catalog's words, A100 80GB."""
    return model is None or set(model.split()) <= set(re.split(r"[\s-]+", gpu.name))


def _first_line(text: str) -> str:
    return " ".join(text.strip().split("\n")[0].split()).rstrip(".")
