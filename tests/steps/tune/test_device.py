from __future__ import annotations

import resource

import pytest
import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.device import find_device, nearest_with_bfloat16, peak_memory_gb
from tests.fakes.cuda import A10, V100, FakeCuda


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_cpu_trains_in_fp32() -> None:
    found = find_device()
    assert (found.torch_device.type, found.weights, found.autocast) == ("cpu", torch.float32, None)
    assert 0.05 < peak_memory_gb(found) < 50


def test_attention_is_planned_for_no_shape() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    find_device()
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_gpu_without_bfloat16_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        find_device(cuda=FakeCuda(gpus=[V100], bfloat16=False))
    assert str(caught.value) == (
        "Tesla V100 has no bfloat16, and in fp16 one in five QLoRA runs of a 7B model ends in "
        "NaN; use an Ampere GPU or newer, such as g6.xlarge (aws) or Standard_NC24ads_A100_v4 "
        "(azure) or g2-standard-4 (gcp)"
    )


def test_a_gpu_trains_in_bfloat16() -> None:
    found = find_device(cuda=FakeCuda(gpus=[A10]))
    assert (found.torch_device, found.weights) == (torch.device("cuda", 0), torch.bfloat16)


@pytest.mark.parametrize(
    ("memory_gib", "models"),
    [
        (16, ["L4", "A100 80GB", "L4"]),
        (32, ["L40S", "A100 80GB", "A100 40GB"]),
        (90, ["H200", "H100 NVL", "H200"]),
        (999, ["B200", "H200", "H200"]),
    ],
)
def test_the_nearest_gpu_of_each_cloud_has_as_much_memory_if_any_has(
    memory_gib: float, models: list[str]
) -> None:
    nearest = nearest_with_bfloat16(memory_gib)
    assert [each.gpu_model for each in nearest] == models
    assert all(each.bfloat16 and not each.retired for each in nearest)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_memory_that_tensors_gave_back_is_used_again() -> None:
    """Else each tensor of a step costs fresh pages, as long to get as to fill."""
    find_device()

    def faults_of_a_step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(6 * 2**20) for _ in range(4)]
        assert sum(tensor.nbytes for tensor in tensors) == 96 * 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    pages = 96 * 2**20 // resource.getpagesize()
    # The first steps make room between what others hold.
    assert min(faults_of_a_step() for _ in range(5)) < pages / 10
