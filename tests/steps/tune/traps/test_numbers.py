"""Sums, formats and numbers that are none: traps 5, 7 and 8 of other trainers."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from bitsandbytes.nn.modules import Linear4bit
from torch.nn.functional import cross_entropy
from transformers import Phi3Config, Phi3ForCausalLM

from argotune.steps.accelerator.cuda import Gpu
from argotune.steps.common.errors import Interrupted, PermanentError
from argotune.steps.contracts.steps_of_run import best_fit
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tune.device import find_device
from argotune.steps.tune.load import load_model
from argotune.steps.tune.pack import Packs, pack
from tests.fakes.cuda import FakeCuda
from tests.steps.tune.float64 import TOLERANCE
from tests.steps.tune.models import (
    CONFIGS,
    VOCABULARY,
    conversation,
    make_tokenizer,
    numbered_rows,
    random_model,
    read_records,
    tiny_plan,
    write_dataset,
    write_rows,
)
from tests.steps.tune.traps.running import StopAt, checkpoints, tune


def gradients(model: Any) -> torch.Tensor:
    """All of them as one vector; the model has none afterwards."""
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad(set_to_none=True)
    return found


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.usefixtures("in_float64")
def test_trap_05_each_token_weighs_the_same_however_rows_are_batched(
    tmp_path: Path, model_dir: Path
) -> None:
    """The mean of micro-batches' means weighs the tokens of short rows more."""
    model = random_model("phi3", "sdpa")
    rows = [torch.randint(VOCABULARY, (1, length)) for length in (4, 100, 7, 60)]
    labels = sum(row.shape[1] - 1 for row in rows)
    for row in rows:
        logits = model(row).logits[0, :-1]
        (cross_entropy(logits, row[0, 1:], reduction="sum") / labels).backward()
    by_tokens = gradients(model)
    for row in rows:
        (model(row, labels=row).loss / len(rows)).backward()
    assert relative_error(gradients(model), by_tokens) > 0.3

    records = []
    for name, tokens, accumulation in (("one", 4096, 1), ("many", 128, 99)):
        work_dir = tmp_path / name
        write_dataset(work_dir)
        plan = tiny_plan(micro_batch_tokens=tokens, accumulation_steps=accumulation, epochs=1.0)
        assert tune(work_dir, model_dir, plan).steps == 1
        records.append(next(r for r in read_records(work_dir) if "loss" in r))
    for quantity in ("loss", "gradient_norm"):
        assert records[0][quantity] == pytest.approx(records[1][quantity], rel=TOLERANCE)


def gradients_around_an_evaluation(directory: Path, *, repack: bool) -> list[torch.Tensor]:
    """Of the same row, before and after the model was evaluated once."""
    # bitsandbytes repacks rows of whole blocks of 64 only.
    shape = CONFIGS["phi3"].to_dict() | {"hidden_size": 128, "intermediate_size": 256}
    torch.manual_seed(0)
    wide = Phi3ForCausalLM(Phi3Config.from_dict(shape))
    model_dir = directory / "model"
    wide.save_pretrained(model_dir)
    model = load_model(tiny_plan(method="qlora"), model_dir, find_device(), "default")
    quantised = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(quantised) >= 8
    if repack:
        for module in quantised:
            module.support_avx512bf16_for_cpu = True
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(1, 41)[None]
    found = []
    for _ in range(2):
        model.train()
        logits = model(ids, use_cache=False, document_lengths=(40,)).logits
        cross_entropy(logits[0, :-1], ids[0, 1:]).backward()
        found.append(gradients(model))
        model.eval()
        with torch.no_grad():
            model(ids, use_cache=False, document_lengths=(40,))
    return found


def test_trap_07_an_evaluation_does_not_repack_4_bit_weights(tmp_path: Path) -> None:
    before, after = gradients_around_an_evaluation(tmp_path, repack=False)
    assert torch.equal(before, after)


# torch warns of it once per process, if warnings are shown at all.
@pytest.mark.filterwarnings("ignore:bitsandbytes.*an autograd kernel was not registered")
@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="bitsandbytes repacks for AVX512-BF16 only"
)
def test_trap_07_repacked_weights_lose_gradients(tmp_path: Path) -> None:
    """What load_model switches off; when this fails, bitsandbytes has mended it."""
    before, after = gradients_around_an_evaluation(tmp_path, repack=True)
    assert relative_error(after, before) > 0.2


@pytest.mark.parametrize("name", ["Tesla V100-PCIE-16GB", "Tesla T4"])
def test_trap_08_fp16_is_refused_with_the_reason_and_a_gpu_that_has_bfloat16(name: str) -> None:
    old = Gpu(name=name, memory_gib=16.0, capability=(7, 0))
    with pytest.raises(PermanentError) as caught:
        find_device(cuda=FakeCuda(gpus=[old], bfloat16=False))
    assert str(caught.value) == (
        f"{name} has no bfloat16, and in fp16 one in five QLoRA runs of a 7B model ends in NaN; "
        "use an Ampere GPU or newer, such as g6.xlarge (aws) or Standard_NC24ads_A100_v4 (azure) "
        "or g2-standard-4 (gcp)"
    )


def test_trap_08_no_micro_batch_is_without_labels(tmp_path: Path) -> None:
    """The mean over no labels is 0/0, and one such batch makes the adapter NaN."""
    nothing = torch.full((8,), -100)
    assert cross_entropy(torch.zeros(8, VOCABULARY), nothing).isnan()

    path = tmp_path / "rows.parquet"
    unanswered = [conversation("?" * 60, "x" * 9)] * 20
    write_rows(path, [*unanswered, *numbered_rows(1, 20), [{"role": "user", "content": "?"}]])
    tokenizer = make_tokenizer()
    rows, census = read_rows(path, chat_template(tokenizer, tmp_path), tokenizer, 50)
    packs = Packs(pack(rows, best_fit(rows.lengths.tolist(), 60)))
    assert census.dropped.total() == 21
    assert len(packs) > 5
    for index in range(len(packs)):
        batch = packs.micro_batch(index)
        ends = list(itertools.accumulate(batch.document_lengths))
        learned = batch.label_positions.numpy()
        for end, length in zip(ends, batch.document_lengths, strict=True):
            assert ((learned >= end - length) & (learned < end)).any(), "each row has its own"


def test_trap_08_a_loss_that_is_no_number_ends_the_run_before_it_is_learned(
    tmp_path: Path, model_dir: Path
) -> None:
    """One infinite product is enough: the optimizer would spread it over the whole adapter."""
    write_dataset(tmp_path)
    plan = tiny_plan(epochs=2.0)
    with pytest.raises(Interrupted):
        tune(tmp_path, model_dir, plan, progress=StopAt(4))
    assert checkpoints(tmp_path) == ["step-00000004"]

    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    tensors = safetensors.torch.load_file(broken / "model.safetensors")
    tensors["model.norm.weight"].fill_(float("inf"))
    safetensors.torch.save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PermanentError, match=r"the loss is nan .* at step 5.*checkpoint is kept"):
        tune(tmp_path, broken, plan)
    assert not (tmp_path / "adapter").exists()
    assert checkpoints(tmp_path) == ["step-00000004"]

    result = tune(tmp_path, model_dir, plan)
    assert result.resumed_from_step == 4
    assert result.tuned_loss < result.base_loss
