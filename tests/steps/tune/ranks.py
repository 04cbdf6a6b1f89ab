"""What several processes do in tests of their start and end; new interpreters import it by its
name, in two seconds: `crews`, which trains, takes them eight."""

from __future__ import annotations

import logging
import os
import signal

import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.distributed import World

_logger = logging.getLogger("argotune.ranks")


def add_ranks(world: World) -> float:
    """Each adds its rank, and says so."""
    _logger.info("rank %d", world.rank)
    return float(world.sum(torch.tensor(float(world.rank + 1))))


def second_fails(world: World) -> float:
    """The second is refused something while the first waits for it."""
    if world.rank == 1:
        raise PermanentError("no bfloat16 here")
    return float(world.sum(torch.zeros(())))


def second_has_a_bug(world: World) -> float:
    """As above, with an error that nobody foresaw."""
    if world.rank == 1:
        raise ZeroDivisionError("a bug")
    return float(world.sum(torch.zeros(())))


def second_is_killed(world: World) -> float:
    """As the kernel does when memory is short."""
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(world.sum(torch.zeros(())))


def first_hangs(world: World) -> float:
    """The second fails, and the first never comes to notice."""
    if world.rank == 1:
        raise PermanentError("the data differ")
    signal.pause()
    return 0.0
