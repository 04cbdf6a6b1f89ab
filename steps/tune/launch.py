"""Runs the work in several processes and watches them, as torchrun does, within one step.

This process only watches. Signals go on to all; logs come back from all; the first that fails or
dies ends the others, and its error is the step's.

torch.distributed.elastic's start_processes was tried in its place. It names one failure, the lowest
rank that has ended when it looks: of 25 runs with a rank killed for its memory, 11 were reported as
the other rank's lost connection. It sends the others SIGTERM at once and waits 30 s for them, and a
second SIGTERM to the parent ends it with exit code 1 instead of 75.
"""

from __future__ import annotations

import ctypes
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import (
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from types import FrameType
from typing import Any, Generic, TypeVar

from torch._C._distributed_c10d import TCPStore

from argotune.steps.common import log
from argotune.steps.common.errors import Interrupted, PermanentError, StepError, TransientError
from argotune.steps.common.exhausted import step_error_of
from argotune.steps.tune.distributed import World, joined

_GRACE_SECONDS = 5.0
"""For the others to say what they saw, after the first has failed."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

R = TypeVar("R")
Work = Callable[[World], R]
Context = SpawnContext | ForkServerContext

SPAWN = multiprocessing.get_context("spawn")
"""New interpreters: a fork of a process that has looked for GPUs cannot use them."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Done:
    result: Any


@dataclass(frozen=True)
class _Failed:
    error: Exception | Interrupted
    at: float
    """Monotonic clock, the same for all processes of a machine."""


def launch(work: Work[R], processes: int, *, lockstep: bool = False, context: Context = SPAWN) -> R:
    """Call `work` in so many processes, each with its place, and return the first one's result.

    `work` must be picklable. Raises what the first process that failed raised.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    crew: _Crew[R] = _Crew(context)
    with crew.passing_on_signals():
        try:
            for rank in range(processes):
                crew.start(work, rank, processes, store.port, lockstep)
            log.event(_logger, "processes", started=processes)
            crew.watch()
        finally:
            crew.kill()
    return crew.result()


@dataclass
class _Member:
    process: SpawnProcess | ForkServerProcess
    channel: connection.Connection
    outcome: _Done | _Failed | None = None
    killed: bool = False
    """By us: its death says nothing."""


@dataclass
class _Crew(Generic[R]):
    context: Context
    members: list[_Member] = field(default_factory=list)
    alive: list[_Member] = field(default_factory=list)
    signal_name: str | None = None
    """The signal that this process got."""

    def start(self, work: Work[R], rank: int, size: int, port: int, lockstep: bool) -> None:
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(
            target=_member, args=(work, rank, size, port, lockstep, theirs), name=f"rank {rank}"
        )
        process.start()
        theirs.close()
        member = _Member(process, ours)
        self.members.append(member)
        self.alive.append(member)

    def watch(self) -> None:
        """Until all have ended; after a failure, a short time for the others, then no more."""
        deadline: float | None = None
        while self.alive:
            waited_for = [m.channel for m in self.alive if not m.channel.closed]
            sentinels = [m.process.sentinel for m in self.alive]
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not connection.wait([*waited_for, *sentinels], left):
                self.kill()
            for member in list(self.alive):
                self._listen(member)
                if not member.process.is_alive():
                    self._listen(member)
                    self.alive.remove(member)
            if deadline is None and any(map(self._has_failed, self.members)):
                deadline = time.monotonic() + _GRACE_SECONDS

    def kill(self) -> None:
        for member in self.alive:
            member.killed = True
            member.process.kill()

    def result(self) -> R:
        """The leader's result, or the error of the first that failed."""
        errors = [m.outcome for m in self.members if isinstance(m.outcome, _Failed)]
        stopped = next((e.error for e in errors if isinstance(e.error, Interrupted)), None)
        if stopped is not None:
            raise stopped
        dead = [rank for rank, m in enumerate(self.members) if m.outcome is None and not m.killed]
        if dead and self.signal_name is not None:
            raise Interrupted(
                f"stopped by {self.signal_name}; a retry resumes from the last checkpoint"
            )
        if dead:
            raise self._death(dead[0])
        if errors:
            # What the others saw of a peer's end comes after its cause, and is no StepError.
            raise min(errors, key=lambda e: (not isinstance(e.error, StepError), e.at)).error
        leader = self.members[0].outcome
        if not isinstance(leader, _Done):
            raise TransientError("the processes ended without a result")
        result: R = leader.result
        return result

    @contextmanager
    def passing_on_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._pass_on) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = signal.Signals(number).name
        for member in self.alive:
            if member.process.pid is not None and member.process.exitcode is None:
                os.kill(member.process.pid, signal.SIGTERM)

    def _listen(self, member: _Member) -> None:
        """Take all that a member has sent."""
        try:
            while not member.channel.closed and member.channel.poll():
                message = member.channel.recv()
                if isinstance(message, logging.LogRecord):
                    logging.getLogger(message.name).handle(message)
                else:
                    member.outcome = message
        except EOFError:
            member.channel.close()

    def _has_failed(self, member: _Member) -> bool:
        if isinstance(member.outcome, _Failed):
            return not isinstance(member.outcome.error, Interrupted)
        return member.outcome is None and member not in self.alive

    def _death(self, rank: int) -> StepError:
        code = self.members[rank].process.exitcode or 0
        if code >= 0:
            return TransientError(f"process {rank} of {len(self.members)} ended with code {code}")
        name = signal.Signals(-code).name
        what = f"process {rank} of {len(self.members)} was ended by {name}"
        if -code == signal.SIGKILL:
            return PermanentError(
                f"{what}; the kernel does so when memory is short: give the step more "
                "(parameter tune-memory) or take fewer processes"
            )
        return TransientError(f"{what}; a retry resumes from the last checkpoint")


def _member(
    work: Work[R],
    rank: int,
    size: int,
    port: int,
    lockstep: bool,
    channel: connection.Connection,
) -> None:
    """What each process does."""
    # Ctrl-C reaches the whole group of a terminal; the watching process passes it on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    log.set_up()
    logging.getLogger().handlers = [_ToParent(channel)]
    if rank > 0:
        # All see the same; the first one tells it.
        logging.getLogger().setLevel(logging.ERROR)
        logging.getLogger("argotune").setLevel(logging.ERROR)
    outcome: _Done | _Failed
    try:
        with joined(rank, size, port, lockstep=lockstep) as world:
            outcome = _Done(work(world))
    except Interrupted as error:
        outcome = _Failed(error, time.monotonic())
    except Exception as error:  # the border of the process: the parent raises it again
        if not isinstance(error, StepError) and step_error_of(error) is None:
            _logger.error("process %d", rank, exc_info=error)
        outcome = _Failed(_portable(error), time.monotonic())
    channel.send(outcome)
    channel.close()
    # Threads of libraries, and a communicator whose peers are gone, would hold up a regular end.
    os._exit(0 if isinstance(outcome, _Done) else 1)


class _ToParent(logging.handlers.QueueHandler):
    """Sends records to the watching process, which has the handlers."""

    def __init__(self, channel: connection.Connection) -> None:
        super().__init__(channel)  # type: ignore[arg-type]
        self._channel = channel

    def enqueue(self, record: logging.LogRecord) -> None:
        self._channel.send(record)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the watching one is killed.

    Otherwise it would write checkpoints beside those of the next attempt.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _portable(error: Exception) -> Exception:
    """The error if it can be sent, else what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
