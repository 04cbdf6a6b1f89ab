from __future__ import annotations

import logging
import os

import pytest
import torch

from argotune.steps.accelerator.cuda import TORCH, Gpu
from argotune.steps.accelerator.gpus import Planned, check_gpus, prepare_gpu
from argotune.steps.common.errors import PermanentError
from tests.fakes.cuda import A10, A10_VIRTUAL, NO_DRIVER, OLD_DRIVER, UNSUPPORTED, FakeCuda

ONE_A10 = Planned(count=1, model="A10", memory_gib=24.0, least_gb=9.0)
A100 = Gpu(name="NVIDIA A100-SXM4-80GB", memory_gib=79.3, capability=(8, 0))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step sets in its own environment goes with the test."""
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "NCCL_P2P_DISABLE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("cuda", "message"),
    [
        (
            FakeCuda(driver=None),
            "1 x A10 with 24 GiB planned, but torch can use no GPU here: Found no NVIDIA driver on "
            "your system. Please check that you have an NVIDIA GPU and installed a driver from "
            "http://www.nvidia.com/Download/index.aspx; torch for CUDA 13.2 needs the NVIDIA driver"
            " 580 or later, this node shows none; use a node whose GPU works, see `nvidia-smi` "
            "there; --allow-cpu (annotation argotune.dev/allow-cpu) permits the CPU",
        ),
        (
            FakeCuda(reason=OLD_DRIVER, driver="550.54.15"),
            "; torch for CUDA 13.2 needs the NVIDIA driver 580 or later, this node has 550.54.15; ",
        ),
        (FakeCuda(reason=""), "torch can use no GPU here: it finds no device; use a node"),
        (FakeCuda(reason="CUDA unknown error"), "GPU here: CUDA unknown error; use a node whose"),
        (
            FakeCuda(reason="Torch not compiled with CUDA enabled", built_for=None),
            "Torch not compiled with CUDA enabled; this torch is built without CUDA: install",
        ),
    ],
)
def test_a_planned_gpu_that_torch_cannot_use_ends_the_step(cuda: FakeCuda, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        check_gpus(ONE_A10, allow_cpu=False, cuda=cuda)
    assert message in str(caught.value)


def test_the_cpu_is_used_where_it_is_allowed_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_gpus(ONE_A10, allow_cpu=True, cuda=FakeCuda())
    assert "no_gpu" in caplog.text
    assert "Found no NVIDIA driver" in caplog.text


def test_a_plan_without_gpus_runs_on_whatever_is_there(caplog: pytest.LogCaptureFixture) -> None:
    for cuda in (FakeCuda(), FakeCuda(gpus=[A10])):
        check_gpus(Planned(count=0), allow_cpu=False, cuda=cuda)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("allow_cpu", [False, True])
def test_fewer_gpus_than_planned_end_the_step(allow_cpu: bool) -> None:
    with pytest.raises(PermanentError) as caught:
        check_gpus(Planned(count=2, model="A10"), allow_cpu=allow_cpu, cuda=FakeCuda(gpus=[A10]))
    assert str(caught.value) == (
        "2 x A10 planned, but torch can use only 1: NVIDIA A10, 22 GiB, compute capability 8.6; "
        "request as many from the node as the plan has, or plan anew for those that it has"
    )


def test_a_gpu_without_room_for_the_weights_ends_the_step() -> None:
    slice_of_card = Gpu(name="NVIDIA A10-8Q", memory_gib=8.0, capability=(8, 6))
    with pytest.raises(PermanentError) as caught:
        check_gpus(ONE_A10, allow_cpu=False, cuda=FakeCuda(gpus=[slice_of_card]))
    assert str(caught.value).startswith(
        "GPU 0 (NVIDIA A10-8Q, 8 GiB, compute capability 8.6) has 8.6 GB, but weights, adapter and "
        "CUDA alone need 9.0 GB; use the planned machine (1 x A10 with 24 GiB), "
    )


@pytest.mark.parametrize(
    ("planned", "found", "warning"),
    [
        (ONE_A10, A10, None),
        (ONE_A10, A10_VIRTUAL, None),
        (Planned(count=1, model="A100 80GB", memory_gib=80), A100, None),
        (Planned(count=1), A100, None),
        (ONE_A10, A100, "hours and cost differ from the plan's"),
        (
            ONE_A10,
            Gpu(name="NVIDIA A10-12Q", memory_gib=12.0, capability=(8, 6)),
            "more activations are recomputed if they do not fit",
        ),
    ],
)
def test_another_gpu_that_will_do_is_a_warning(
    planned: Planned, found: Gpu, warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    check_gpus(planned, allow_cpu=False, cuda=FakeCuda(gpus=[found]))
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (warning is not None)
    assert (warning or "") in caplog.text


def test_segments_are_fixed_where_the_driver_cannot_extend_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cuda = FakeCuda(gpus=[A10_VIRTUAL], maps_memory=False)
    prepare_gpu(0, cuda=cuda)
    assert not cuda.expandable
    assert cuda.allocations == 1
    assert "no_expandable_segments" in caplog.text
    assert UNSUPPORTED in caplog.text
    caplog.clear()
    prepare_gpu(0, cuda=cuda)
    assert "no_expandable_segments" not in caplog.text


def test_segments_are_extended_where_the_driver_can_extend_them() -> None:
    cuda = FakeCuda(gpus=[A10])
    prepare_gpu(0, cuda=cuda)
    assert cuda.expandable
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.parametrize("expandable", [False, True])
def test_a_gpu_on_which_nothing_can_be_computed_ends_the_step(expandable: bool) -> None:
    failure = "CUDA error: no kernel image is available for execution on the device\nCompile with"
    cuda = FakeCuda(gpus=[A10], failure=failure, expandable=expandable, driver="550.54.15")
    with pytest.raises(PermanentError) as caught:
        prepare_gpu(0, cuda=cuda)
    assert str(caught.value) == (
        "torch cannot compute on NVIDIA A10, 22 GiB, compute capability 8.6: CUDA error: no kernel "
        "image is available for execution on the device; torch for CUDA 13.2 needs the NVIDIA "
        "driver 580 or later, this node has 550.54.15"
    )


@pytest.mark.parametrize(
    ("gpu", "setting"), [(A10, None), (A10_VIRTUAL, "1"), (A100, None)], ids=lambda v: str(v)
)
def test_vgpus_do_not_talk_to_each_other_directly(gpu: Gpu, setting: str | None) -> None:
    prepare_gpu(0, cuda=FakeCuda(gpus=[gpu]))
    assert os.environ.get("NCCL_P2P_DISABLE") == setting


def test_what_the_user_set_for_nccl_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_P2P_DISABLE", "0")
    prepare_gpu(0, cuda=FakeCuda(gpus=[A10_VIRTUAL]))
    assert os.environ["NCCL_P2P_DISABLE"] == "0"


def test_the_allocators_other_settings_stay_when_segments_are_fixed() -> None:
    before = torch._C._accelerator_getAllocatorSettings()
    try:
        torch._C._accelerator_setAllocatorSettings("max_split_size_mb:64,expandable_segments:True")
        cuda = TORCH
        assert cuda.has_expandable_segments()
        cuda.use_fixed_segments()
        assert not cuda.has_expandable_segments()
        assert "max_split_size_mb:64" in torch._C._accelerator_getAllocatorSettings()
    finally:
        torch._C._accelerator_setAllocatorSettings(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_torch_says_why_it_uses_no_gpu() -> None:
    assert TORCH.count() == 0
    assert TORCH.refusal().startswith(NO_DRIVER[:40])
