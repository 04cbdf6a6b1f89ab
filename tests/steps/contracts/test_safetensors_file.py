from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from argotune.steps.contracts.safetensors_file import safetensors_problem


def file_of(path: Path, header: object, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(begin: int, end: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


def test_sound_file_passes(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "b": tensor(4, 8), "a": tensor(0, 4)}
    assert safetensors_problem(file_of(tmp_path / "m.safetensors", header, b"12345678")) is None


@pytest.mark.parametrize(
    ("header", "data", "problem"),
    [
        (
            {"a": tensor(0, 4)},
            b"123",
            "has the wrong size: its tensors take 4 bytes, the file has 3",
        ),
        (
            {"a": tensor(0, 4)},
            b"12345",
            "has the wrong size: its tensors take 4 bytes, the file has 5",
        ),
        (
            {"a": tensor(0, 4), "b": tensor(2, 6)},
            b"123456",
            "is not safetensors: its tensors overlap or leave a gap",
        ),
        (
            {"a": tensor(0, 4), "b": tensor(6, 8)},
            b"12345678",
            "is not safetensors: its tensors overlap or leave a gap",
        ),
        ({"a": {}}, b"", "is not safetensors: its header cannot be read"),
        ([1], b"", "is not safetensors: its header cannot be read"),
        (b"{", b"", "is not safetensors: its header cannot be read"),
        (b"[" * 100_000, b"", "is not safetensors: its header cannot be read"),
        ({}, b"", "has no tensors"),
    ],
)
def test_unsound_files_are_described(
    tmp_path: Path, header: object, data: bytes, problem: str
) -> None:
    path = file_of(tmp_path / "m.safetensors", header, data)
    assert safetensors_problem(path) == f"m.safetensors {problem}"


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 8, b"\x09" + bytes(8)])
def test_header_that_does_not_fit_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert safetensors_problem(path) == (
        f"m.safetensors is not safetensors: its header does not fit into {len(content)} bytes"
    )
