"""The processes of a run, one per GPU, and their collective operations.

Each process has the whole adapter and its optimizer. The micro-batches of a step are distributed
over the processes and the gradients are summed once per step. So the results do not depend on the
number of processes, except for the order of sums, and a run can resume with another number. DDP's
overlap of sums and backward passes would save little here: an adapter's gradients have a
hundredth of the model's size.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from argotune.steps.accelerator.gpus import prepare_gpu
from argotune.steps.common.errors import PermanentError

_TIMEOUT = datetime.timedelta(minutes=30)
"""Longer than the leader takes for a checkpoint or tokenization, for which the others wait."""

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process and its collective operations, which cost nothing in a single process."""

    rank: int = 0
    size: int = 1
    lockstep: bool = False
    """All processes must make the same number of forward passes, because each is collective."""

    @property
    def leads(self) -> bool:
        """Whether this process writes: records, checkpoints, logs and the adapter."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The GPU of this process, or the CPU."""
        return torch.device("cuda", self.rank) if torch.cuda.is_available() else torch.device("cpu")

    def deal(self, items: Sequence[T]) -> list[tuple[T, bool]]:
        """The items of this process, each with whether it counts.

        In lockstep the last round is filled with an item that counts in another process.
        """
        mine = [(item, True) for item in items[self.rank :: self.size]]
        rounds = -(-len(items) // self.size)
        if self.lockstep and len(mine) < rounds:
            mine.append((items[0], False))
        return mine

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the gradients over all processes; a process without micro-batches adds zeros."""
        if self.size == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        # One sum of all gradients: hundreds of small ones would wait for each other.
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def as_leader(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace the tensor's values by the leader's, in place, so that all processes agree."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def wait(self) -> None:
        """Barrier: wait until all processes have called this."""
        if self.size > 1:
            self.sum(torch.zeros((), device=self.device)).item()

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """Run the block in the leader first and then in the others, which find its files."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


def process_count(wanted: int | None) -> int:
    """Number of processes to start: that of the plan, else one per GPU, else one.

    Raises PermanentError if the plan's number exceeds the number of GPUs.
    """
    gpus = torch.cuda.device_count()
    if wanted is None:
        return max(1, gpus)
    if gpus and wanted > gpus:
        raise PermanentError(
            f"processes is {wanted}, but this machine has {gpus} GPU{'s' if gpus > 1 else ''}; "
            "set at most that many, or remove it to use all"
        )
    return wanted


@contextlib.contextmanager
def joined(rank: int, size: int, port: int, *, lockstep: bool) -> Iterator[World]:
    """Join the process group whose store is on `port` of this machine."""
    world = World(rank, size, lockstep)
    cuda = world.device.type == "cuda"
    if cuda:
        # NCCL reads its variables, and allocates, when the group is made.
        prepare_gpu(rank)
        torch.cuda.set_device(world.device)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=TCPStore("127.0.0.1", port, is_master=False, timeout=_TIMEOUT),
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
        device_id=world.device if cuda else None,
    )
    yield world
    # Only after success: it would wait for a peer that has failed.
    dist.destroy_process_group()
