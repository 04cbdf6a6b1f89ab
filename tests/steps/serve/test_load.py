from __future__ import annotations

import torch

from argotune.steps.serve.load import load_model
from tests.steps.serve.conftest import Tuned


def test_attention_is_planned_for_no_shape(tuned: Tuned) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    load_model(tuned.model_dir, tuned.adapter_dir, tuned.contract, load_in_4bit=False)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
