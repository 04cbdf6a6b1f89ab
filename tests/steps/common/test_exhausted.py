"""What libraries raise where a machine has run out of something, and what a user is told."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import safetensors.numpy

from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.exhausted import step_error_of
from argotune.steps.common.fs import replacing, replacing_directory

MANY = np.arange(100_000, dtype=np.float64)


class OutOfMemoryError(RuntimeError):
    """By this name torch raises it, which is not imported here."""


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may be larger than 4 kB: as real as a full volume, and needs none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def with_safetensors(path: Path) -> None:
    safetensors.numpy.save_file({"many": MANY}, path)


def with_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"many": MANY}), path)


def with_arrow(path: Path) -> None:
    table = pyarrow.table({"many": MANY})
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def with_python(path: Path) -> None:
    path.write_bytes(MANY.tobytes())


WRITERS = [with_safetensors, with_parquet, with_arrow, with_python]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_cannot_be_written_is_named_whatever_library_wrote_it(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "rows"
    with (
        small_files(),
        pytest.raises(OSError, match="File too large") as caught,
        replacing(path) as temporary,
    ):
        write(temporary)
    found = step_error_of(caught.value)
    assert isinstance(found, PermanentError)
    assert str(found).startswith("File too large (")
    assert str(path.parent) in str(found)
    assert not list(tmp_path.iterdir())


def test_a_file_of_a_directory_is_named_by_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "step-1"
    with (
        small_files(),
        pytest.raises(OSError, match="File too large") as caught,
        replacing_directory(path) as made,
    ):
        with_safetensors(made / "a.safetensors")
    assert str(step_error_of(caught.value)).startswith(f"File too large ({path}); ")
    assert not list(tmp_path.iterdir())


def test_a_full_volume_says_how_much_is_free(tmp_path: Path) -> None:
    path = tmp_path / "not yet" / "there"
    rust = f"Error while serializing: I/O error: No space left on device (os error {errno.ENOSPC})"
    with pytest.raises(OSError, match="No space") as caught, replacing(path):
        raise ValueError(rust)
    assert re.fullmatch(
        rf"No space left on device \({re.escape(str(path))}\): [0-9.]+ of [0-9.]+ GB are free there"
        r"; free space, or give the run a larger volume \(argotune\.dev/volume-size\)",
        str(step_error_of(caught.value)),
    )


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EDQUOT, PermanentError, "raise the quota"),
        (errno.EROFS, PermanentError, "mount its file system for writing, then resume the run"),
        (errno.EIO, TransientError, "a retry on another node may pass"),
        (errno.ESTALE, TransientError, "a retry opens it anew"),
    ],
)
def test_every_fault_of_a_volume_has_its_advice(
    number: int, kind: type[Exception], advice: str
) -> None:
    found = step_error_of(OSError(number, os.strerror(number), "/work/a"))
    assert type(found) is kind
    assert str(found).startswith(f"{os.strerror(number)} (/work/a); ")
    assert advice in str(found)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
                "22.06 GiB of which 1.20 GiB is free. Process 1 has 20 GiB memory in use."
            ),
            "the GPU's memory is too small: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 "
            "has a total capacity of 22.06 GiB of which 1.20 GiB is free; use a smaller max_length,"
            " method qlora or a GPU with more memory",
        ),
        (
            RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
            "the GPU's memory is too small: CUDA error: out of memory; use a smaller max_length, "
            "method qlora or a GPU with more memory",
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 10 bytes. Error code 12 (Cannot allocate memory)"
            ),
            "out of memory: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: ",
        ),
        (pyarrow.ArrowMemoryError("malloc of size 9 failed"), "out of memory: malloc of size 9"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory: [Errno 12] Cannot"),
    ],
)
def test_missing_memory_is_told_with_its_size(error: Exception, message: str) -> None:
    found = step_error_of(error)
    assert isinstance(found, PermanentError)
    assert str(found).startswith(message)


def test_an_error_of_the_code_stays_one() -> None:
    assert step_error_of(KeyError("x")) is None
    assert step_error_of(RuntimeError("shape mismatch (os error 2)")) is None
