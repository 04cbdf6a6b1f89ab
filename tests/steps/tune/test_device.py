from __future__ import annotations

import pytest
import torch

from steps.common.errors import PermanentError
from steps.tune import device
from steps.tune.device import find_device, peak_memory_gb


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_cpu_trains_in_fp32() -> None:
    found = find_device()
    assert (found.torch_device.type, found.weights, found.autocast) == ("cpu", torch.float32, None)
    assert 0.05 < peak_memory_gb(found) < 50


def test_a_gpu_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such GPU here, so torch's answers about it are given by hand."""
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(device.torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(PermanentError, match=r"Tesla V100 has no bfloat16, .* Standard_NV36ads"):
        find_device()
