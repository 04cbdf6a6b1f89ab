"""The NVIDIA driver that the images need, against what their lock files hold."""

from __future__ import annotations

import pytest

from argotune.steps.common.driver import CUDA_MAJOR, driver_problem
from tests.images import lock
from tests.images.containerfile import VLLM, lock_of


@pytest.mark.parametrize(
    ("group", "path"), [("image-torch", lock.OURS), ("image-torch", lock_of(VLLM))]
)
def test_the_locked_torch_is_built_for_this_cuda(group: str, path: object) -> None:
    of_cuda = {
        name.rpartition("-cu")[2]
        for name in lock.closure(group, lock=path)
        if name.startswith("nvidia-cudnn-cu")
    }
    assert of_cuda == {str(CUDA_MAJOR)}


@pytest.mark.parametrize("version", ["580", "580.95.05", "595.58.03", "1000.1", "", None, "open"])
def test_a_driver_that_is_new_enough_or_unknown_is_no_problem(version: str | None) -> None:
    assert driver_problem(version) == ""


@pytest.mark.parametrize("version", ["570.237", "535", "579.99"])
def test_an_older_driver_is_one_with_both_versions(version: str) -> None:
    assert driver_problem(version) == (f"NVIDIA driver {version}, 580 or later needed (CUDA 13)")
