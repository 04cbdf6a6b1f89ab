from __future__ import annotations

import logging

import pytest
import torch

from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.varlen import VARLEN, attention_for
from tests.steps.tune.models import CONFIGS, random_model
from tests.steps.tune.test_attention import documents, packed_hidden


def test_a_cpu_has_one_call_per_document() -> None:
    assert attention_for(torch.device("cpu")) == SEGMENTED


@pytest.mark.parametrize("family", CONFIGS)
def test_fp32_is_left_to_single_calls(family: str) -> None:
    with torch.no_grad():
        found, expected = (packed_hidden(random_model(family, a)) for a in (VARLEN, SEGMENTED))
    assert torch.equal(found, expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_where_the_kernel_does_not_work_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A CPU cannot run it, so the trial fails there as on a GPU without such a kernel."""
    with caplog.at_level(logging.WARNING):
        assert attention_for(_Pretended("cpu")) == SEGMENTED  # type: ignore[arg-type]
    assert "no_varlen_attention" in caplog.text


class _Pretended(str):
    """A device of type cuda whose tensors are made on the CPU."""

    type = "cuda"


@pytest.mark.gpu
@pytest.mark.parametrize("family", CONFIGS)
def test_packed_logits_on_a_gpu_equal_those_of_single_documents(family: str) -> None:
    device = torch.device("cuda", 0)
    assert attention_for(device) == VARLEN
    model = random_model(family, VARLEN).to(device, torch.bfloat16)
    plain = random_model(family, "sdpa").to(device, torch.bfloat16)
    lengths = [len(document) for document in documents()]
    ids = torch.cat(documents())[None].to(device)
    positions = torch.cat([torch.arange(length) for length in lengths])[None].to(device)
    with torch.no_grad():
        packed = model(
            ids, position_ids=positions, use_cache=False, document_lengths=lengths
        ).logits[0]
        single = torch.cat([plain(d[None].to(device)).logits[0] for d in documents()])
    error = (packed.float() - single.float()).norm() / single.float().norm()
    # 31 roundings to bfloat16 on the way, up to u = 2^-8, are sqrt(31 / 3) u = 0.013 of the norm,
    # which is what a CPU has too; documents that see each other change 0.7 of it.
    assert float(error) < 0.1
