"""Check safetensors files without a tensor library: https://github.com/huggingface/safetensors."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path

_LARGEST_HEADER_BYTES = 100_000_000
"""Limit of the format's reference implementation."""


def safetensors_problem(path: Path) -> str | None:
    """The error in a file's header, offsets or length, or None.

    Only the header is read, so that the time does not depend on the file's size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        header_size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if header_size > min(_LARGEST_HEADER_BYTES, size - 8):
            return f"{path.name} is not safetensors: its header does not fit into {size} bytes"
        header_text = file.read(header_size)
    try:
        header = json.loads(header_text)
        offsets = sorted(
            (int(begin), int(end))
            for name, tensor in header.items()
            if name != "__metadata__"
            for begin, end in [tensor["data_offsets"]]
        )
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return f"{path.name} is not safetensors: its header cannot be read"
    return _offsets_problem(path.name, offsets, size - 8 - header_size)


def stored_numbers(paths: Iterable[Path]) -> int | None:
    """Numbers in all tensors of the files, by their headers; None where one cannot be read."""
    try:
        return sum(_numbers_of(path) for path in paths)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, struct.error):
        return None


def _numbers_of(path: Path) -> int:
    with path.open("rb") as file:
        header_size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(min(header_size, _LARGEST_HEADER_BYTES)))
    return sum(
        math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
    )


def _offsets_problem(name: str, offsets: list[tuple[int, int]], size: int) -> str | None:
    if not offsets:
        return f"{name} has no tensors"
    expected = 0
    for begin, end in offsets:
        if begin != expected or end < begin:
            return f"{name} is not safetensors: its tensors overlap or leave a gap"
        expected = end
    if expected != size:
        return f"{name} has the wrong size: its tensors take {expected} bytes, the file has {size}"
    return None
