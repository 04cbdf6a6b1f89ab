from __future__ import annotations

import threading
from pathlib import Path

import pytest

from argotune.steps.common.host_memory import HostMemory, MemoryWatch, host_memory, memory_message

MIB, GIB = 1 << 20, 1 << 30


def version_2(root: Path, *, limit: str) -> Path:
    (root / "memory.current").write_text(f"{900 * MIB}\n")
    (root / "memory.max").write_text(f"{limit}\n")
    (root / "memory.stat").write_text(f"anon {700 * MIB}\ninactive_file {100 * MIB}\n")
    return root


def version_1(root: Path, *, limit: str) -> Path:
    memory = root / "memory"
    memory.mkdir()
    (memory / "memory.usage_in_bytes").write_text(f"{900 * MIB}\n")
    (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (memory / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n")
    return root


@pytest.mark.parametrize("files", [version_1, version_2])
def test_page_cache_that_would_be_dropped_is_not_counted(files: object, tmp_path: Path) -> None:
    root = files(tmp_path, limit=str(GIB))  # type: ignore[operator]
    assert host_memory(root) == HostMemory(used=800 * MIB, limit=GIB)


def test_no_limit_and_no_files_are_nothing_to_say(tmp_path: Path) -> None:
    assert host_memory(tmp_path) is None
    # What version 1 writes where there is none.
    assert host_memory(version_1(tmp_path, limit=str((1 << 63) - 4096))) is None
    assert host_memory(version_2(tmp_path, limit="max")) is None


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        (
            HostMemory(used=int(15.9 * GIB), limit=16 * GIB),
            "host memory: 15.9 GiB used of 16.0 GiB (parameter tune-memory); if it ran out of "
            "memory, set at least 24Gi",
        ),
        (
            HostMemory(used=60 * MIB, limit=64 * MIB),
            "host memory: 60 MiB used of 64 MiB (parameter tune-memory); if it ran out of "
            "memory, set at least 96Mi",
        ),
    ],
)
def test_message_names_numbers_and_parameter(memory: HostMemory, text: str) -> None:
    assert memory_message(memory, "tune-memory") == text


def test_message_is_kept_up_to_date_and_gone_at_the_end() -> None:
    written: list[str] = []
    twice = threading.Event()
    used = iter(range(1, 1000))

    def write(text: str) -> None:
        written.append(text)
        if len(written) == 2:
            twice.set()

    before = set(threading.enumerate())
    with MemoryWatch(
        "tune-memory",
        write,
        read=lambda: HostMemory(used=next(used) * GIB, limit=2000 * GIB),
        interval_seconds=0.001,
    ):
        assert twice.wait(10)
    assert written[0].startswith("host memory: 2.0 GiB used")
    assert written[1].startswith("host memory: 3.0 GiB used")
    assert written[-1] == ""
    assert set(threading.enumerate()) <= before


def test_message_of_a_limit_that_no_parameter_sets_names_its_place() -> None:
    assert memory_message(HostMemory(used=4 * GIB, limit=4 * GIB), None) == (
        "host memory: 4.0 GiB used of 4.0 GiB; if it ran out of memory, its input is far larger "
        "than this step is made for: give it less, or raise the step's resources.limits.memory "
        "in the WorkflowTemplate to 6Gi"
    )


def test_nothing_is_written_without_a_limit() -> None:
    written: list[str] = []
    before = set(threading.enumerate())
    with MemoryWatch("tune-memory", written.append, read=lambda: None):
        assert set(threading.enumerate()) <= before
    assert written == [""]
