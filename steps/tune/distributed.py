"""The processes of a run, one for each GPU, and the sums that they need of each other.

Each holds the whole adapter and its optimizer. The micro-batches of a step are dealt out among
them and the gradients are summed once per step, so a run is the same with any number of processes
but for the order of sums, and a checkpoint goes on with another number. DDP's overlap of sums and
backward passes would save little here: an adapter's gradients are a hundredth of the model.
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

from argotune.steps.common.errors import PermanentError

_TIMEOUT = datetime.timedelta(minutes=30)
"""Longer than the leader takes for a checkpoint or the tokenising that the others wait for."""

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those of the run; alone, every method is free of cost."""

    rank: int = 0
    size: int = 1
    lockstep: bool = False
    """Every process must make as many forward passes as the others, for each is a joint one."""

    @property
    def leads(self) -> bool:
        """Whether this process writes: records, checkpoints, logs and the adapter."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The GPU of this process, or the CPU."""
        return torch.device("cuda", self.rank) if torch.cuda.is_available() else torch.device("cpu")

    def deal(self, items: Sequence[T]) -> list[tuple[T, bool]]:
        """This process' share, and whether each counts: in lockstep the last round is filled up
        with an item that another process counts."""
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

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the gradients over all processes; a process without a share adds zeros."""
        if self.size == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        # One sum of all: hundreds of small ones wait for each other.
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def as_leader(self, tensor: torch.Tensor) -> torch.Tensor:
        """The leader's values, in place: what follows from them is the same everywhere."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            self.sum(torch.zeros((), device=self.device)).item()

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader does what follows and the others do it after: they find its files."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


def process_count(wanted: int | None) -> int:
    """How many processes to start: those of the plan, else one for each GPU, else one."""
    gpus = torch.cuda.device_count()
    if wanted is None:
        return max(1, gpus)
    if gpus and wanted > gpus:
        raise PermanentError(
            f"processes is {wanted}, and this machine shows {gpus} GPU{'s' if gpus > 1 else ''}; "
            "take as many or fewer, or leave it out to use all"
        )
    return wanted


@contextlib.contextmanager
def joined(rank: int, size: int, port: int, *, lockstep: bool) -> Iterator[World]:
    """Join the processes that meet at a store on `port` of this machine."""
    world = World(rank, size, lockstep)
    cuda = world.device.type == "cuda"
    if cuda:
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
    # Only after a good end: with a peer gone it would wait for it.
    dist.destroy_process_group()
