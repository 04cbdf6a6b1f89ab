"""What a machine has run out of, as an error with a name and advice.

Libraries report a full disk or missing memory each in its own way: safetensors and torch by
exceptions that are no OSError and name no file, torch by a RuntimeError where a CPU has no memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from argotune.steps.common.errors import PermanentError, StepError, TransientError, chain_of
from argotune.steps.common.host_memory import host_memory, memory_message

MORE_ROOM = "free space, or give the run a larger volume (argotune.dev/volume-size)"
"""What to do about a full volume: on one machine the first, whose disk is that of all runs."""
_ADVICE = {
    errno.ENOSPC: MORE_ROOM,
    errno.EDQUOT: "free space or raise the quota of this user on that volume",
    errno.EFBIG: "the file system or a limit of the process allows no file of that size",
    errno.EROFS: "mount its file system for writing, then resume the run",
    errno.EIO: "the disk or its server failed; a retry on another node may pass, and the node's "
    "kernel log has more",
    errno.ESTALE: "the volume's server has forgotten the file; a retry opens it anew",
}
"""Errors of a volume, whatever is done with it."""
_MAY_PASS = (errno.EIO, errno.ESTALE)
# Rust's and Arrow's way to write the number.
_NUMBER = re.compile(r"\((?:os error|errno) (\d+)\)|\[[Ee]rrno (\d+)\]")
_NO_HOST_MEMORY = re.compile(r"DefaultCPUAllocator: .*|.*Cannot allocate memory.*")
_NO_GPU_MEMORY = re.compile(
    r"CUDA (?:error: )?out of memory\b[^\n]*|(?:CUDA error: )?CU[A-Z]+_STATUS_ALLOC_FAILED\b[^\n]*"
)


def step_error_of(error: BaseException, memory_parameter: str | None = None) -> StepError | None:
    """The error that says what is missing, and what to do; None where nothing is.

    `memory_parameter` is the workflow parameter that sets the container's memory, if one does.
    """
    for each in chain_of(error):
        found = _memory_error(each, memory_parameter)
        if found is not None:
            return found
    volume = volume_error_in(error)
    if volume is not None:
        return _step_error(volume)
    return _step_error(error) if isinstance(error, OSError) else None


def volume_error_in(error: BaseException) -> OSError | None:
    """The error of a volume behind a library's error; None for other errors."""
    for each in chain_of(error):
        if isinstance(each, OSError) and each.errno in _ADVICE:
            return each
        written = _NUMBER.search(str(each))
        number = int(written[1] or written[2]) if written else 0
        if number in _ADVICE:
            return OSError(number, os.strerror(number))
    return None


def located(error: BaseException, path: Path) -> OSError | None:
    """The error of a volume as one of this path; None for other errors, or if it names a file."""
    found = volume_error_in(error)
    if found is None or found.filename or found.errno is None:
        return None
    return OSError(found.errno, os.strerror(found.errno), str(path))


def missing_gpu_memory(error: BaseException) -> str | None:
    """What the GPU's memory was too small for, in a library's words; None for other errors."""
    text = str(error)
    # By its name, because torch is imported only by the steps that need it.
    written = _NO_GPU_MEMORY.search(text)
    if not written and type(error).__name__ != "OutOfMemoryError":
        return None
    return ". ".join((written[0] if written else text).split(". ")[:3]).rstrip(".")


@contextlib.contextmanager
def naming_missing_memory(what: str, remedy: str) -> Iterator[None]:
    """Raise PermanentError that says for what the GPU's memory is too small."""
    try:
        yield
    except RuntimeError as error:
        missing = missing_gpu_memory(error)
        if missing is None:
            raise
        raise PermanentError(
            f"the GPU's memory is too small for {what}: {missing}; use {remedy} or a GPU with more "
            "memory, and see that no other process uses this one"
        ) from error


def _memory_error(error: BaseException, parameter: str | None) -> StepError | None:
    text = str(error)
    of_gpu = missing_gpu_memory(error)
    if of_gpu is not None:
        return PermanentError(
            f"the GPU's memory is too small: {of_gpu}; use a smaller max_length, method qlora or a "
            "GPU with more memory"
        )
    if isinstance(error, MemoryError) or _NO_HOST_MEMORY.search(text):
        memory = host_memory()
        what = " ".join(text.split()) or "an input asks for more than this machine has"
        more = f"; {memory_message(memory, parameter)}" if memory else ""
        return PermanentError(f"out of memory: {what}{more}")
    return None


def _step_error(error: OSError) -> StepError:
    """A lost connection may come back on a retry; a full disk or a missing file does not change."""
    where = f" ({error.filename})" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0)
    text = f"{error.strerror or error}{where}{_space(error)}{f'; {advice}' if advice else ''}"
    passes = isinstance(error, ConnectionError | TimeoutError) or error.errno in _MAY_PASS
    return (TransientError if passes else PermanentError)(text)


def _space(error: OSError) -> str:
    """What is free on the volume of the error's file, where it is full."""
    if error.errno != errno.ENOSPC or not error.filename:
        return ""
    path = Path(os.fsdecode(error.filename))
    for place in (path, *path.parents):
        if place.exists():
            usage = shutil.disk_usage(place)
            return f": {usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free there"
    return ""
