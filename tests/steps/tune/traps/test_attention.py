"""What each token sees: packed documents, and traps 4 and 6 of other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from peft import PeftModel
from transformers import AttentionInterface, AutoModelForCausalLM

from argotune.steps.contracts.serving import read_contract
from argotune.steps.serve.load import load_model
from argotune.steps.tune.attention import SEGMENTED, segmented_attention
from argotune.steps.tune.vllm import vllm_command
from tests.steps.tune.float64 import FLOAT32, check_close
from tests.steps.tune.models import (
    CONFIGS,
    VOCABULARY,
    conversation,
    random_model,
    save_model,
    tiny_plan,
    write_rows,
)
from tests.steps.tune.traps.running import loss_by_row, tune

LENGTHS = (7, 12, 9)
ORIGINAL_LENGTH = 16
"""Above it the tiny Phi-4-mini takes its long rotary factors."""


WINDOWLESS = "windowless"


def windowless_attention(*tensors: Any, sliding_window: int | None = None, **options: Any) -> Any:
    return segmented_attention(*tensors, sliding_window=None, **options)


AttentionInterface.register(WINDOWLESS, windowless_attention)


def packed() -> tuple[torch.Tensor, torch.Tensor]:
    """Three documents in a row, and their positions."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(VOCABULARY, (1, sum(LENGTHS)), generator=generator)
    return ids, torch.cat([torch.arange(length) for length in LENGTHS])[None]


def alone(family: str) -> torch.Tensor:
    """Logits of the same documents, each by itself."""
    model = random_model(family, "eager")
    documents = torch.split(packed()[0], LENGTHS, dim=1)
    with torch.no_grad():
        return torch.cat([model(document).logits for document in documents], dim=1)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("family", CONFIGS)
def test_trap_packed_documents_do_not_see_each_other(family: str) -> None:
    """A mask of ones or a cache makes transformers take a pack for one document."""
    ids, positions = packed()
    plain = random_model(family, "sdpa")
    with torch.no_grad():
        naive = plain(
            ids, position_ids=positions, attention_mask=torch.ones_like(ids), use_cache=False
        ).logits
        model = random_model(family, SEGMENTED)
        ours = model(ids, position_ids=positions, use_cache=False, document_lengths=LENGTHS).logits
    expected = alone(family)
    assert float((naive - expected).abs().max()) > 0.01
    check_close(ours, expected)


@torch.no_grad()
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("family", [name for name in CONFIGS if name.endswith("window")])
def test_trap_06_the_sliding_window_is_kept_in_packs(family: str) -> None:
    """An attention of one's own that drops the window teaches a model that nobody serves."""
    ids, positions = packed()
    ours, naive = (
        random_model(family, attention)(
            ids, position_ids=positions, use_cache=False, document_lengths=LENGTHS
        ).logits
        for attention in (SEGMENTED, WINDOWLESS)
    )
    expected = alone(family)
    assert float((naive - expected).abs().max()) > 0.01
    check_close(ours, expected)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("answer", "rope", "served_length"),
    [("b", "short", ORIGINAL_LENGTH), ("b" * 60, "long", 128)],
    ids=["short", "long"],
)
def test_trap_04_longropes_factors_are_chosen_once_and_served(
    tmp_path: Path, answer: str, rope: str, served_length: int
) -> None:
    """transformers chooses them anew for every batch: one long row changes the short ones'."""
    model_dir = save_model(tmp_path / "model", "tied phi-4-mini")
    short = [conversation(letter, letter) for letter in "abcdefgh"]
    write_rows(tmp_path / "dataset" / "train.parquet", [*short, conversation("a", answer)])
    write_rows(tmp_path / "dataset" / "validation.parquet", short[:3])
    plan = tiny_plan(epochs=4.0)
    model = msgspec.structs.replace(plan.model, original_max_position_embeddings=ORIGINAL_LENGTH)
    result = tune(tmp_path, model_dir, msgspec.structs.replace(plan, model=model))

    adapter = tmp_path / "adapter"
    contract = read_contract(adapter)
    assert (contract.rope, contract.max_length) == (rope, served_length)
    command = vllm_command(contract)
    assert command[command.index("--max-model-len") + 1] == str(served_length)

    served = load_model(model_dir, adapter, contract, load_in_4bit=False)
    assert loss_by_row(served, tmp_path, model_dir) == pytest.approx(result.tuned_loss, rel=FLOAT32)
    if rope == "long":
        base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        naive = PeftModel.from_pretrained(base, str(adapter)).eval()
        # It is 4 % off, a thousand times what float32 leaves open.
        assert loss_by_row(naive, tmp_path, model_dir) != pytest.approx(result.tuned_loss, rel=1e-2)
