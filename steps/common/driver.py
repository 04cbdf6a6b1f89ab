"""The NVIDIA driver that the images need. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

CUDA_MAJOR = 13
"""CUDA of the torch that the images have; a test compares it with their lock files."""
OLDEST_DRIVER: Mapping[int, int] = {12: 525, 13: 580}
"""Oldest NVIDIA driver for each major version of CUDA (CUDA Toolkit release notes, table 2)."""
NEEDED_DRIVER = OLDEST_DRIVER[CUDA_MAJOR]


def driver_problem(version: str | None) -> str:
    """Say why the images cannot compute with the driver; empty where they can or it is unknown."""
    major = (version or "").partition(".")[0]
    if not major.isdigit() or int(major) >= NEEDED_DRIVER:
        return ""
    return f"NVIDIA driver {version}, {NEEDED_DRIVER} or later needed (CUDA {CUDA_MAJOR})"
