"""The whole tune step: its adapter in the server's model, a second try, and several GPUs."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.serving import read_contract
from argotune.steps.contracts.training_plan import Execution, write_plan
from argotune.steps.serve.load import load_model
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import TokenRows, read_rows
from argotune.steps.tokens.tokenizer import load_tokenizer
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.run import run
from tests.gpu.records import Records
from tests.steps.tune.models import save_model, tiny_plan, write_dataset

_LOSS_APART = 1e-2
_ROWS = 400
_POSITIONS = 4096


def step(records: Records) -> None:
    """QLoRA from rows to the adapter; the server's 4-bit model has the same held-out loss."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place:
        params = _params(Path(place), Execution(processes=1), dry=records.dry)
        result = run(params, progress=Progress())
        records.add(
            "tuned",
            tokens_per_second=result.tokens_per_second,
            peak_gb=result.peak_memory_gb,
            base_loss=result.base_loss,
        )
        again = run(params, progress=Progress())
        records.check_apart(
            "loss of a second try", *_losses(again.tuned_loss, result.tuned_loss), 1e-12
        )
        records.check_apart(
            "held-out loss in the server's model",
            *_losses(_served_loss(params), result.tuned_loss),
            _LOSS_APART,
        )


def several(records: Records) -> None:
    """Two GPUs or more: DDP with 4-bit weights, and weights that the GPUs share (FSDP2)."""
    gpus = torch.cuda.device_count()
    if gpus < 2:
        records.add("several GPUs", skipped=f"{gpus} GPUs here")
        return
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place:
        tune = functools.partial(_tuned, Path(place), dry=records.dry)
        one = tune(Execution(processes=1))
        for name, execution in (
            (f"{gpus} processes", Execution(processes=gpus)),
            (f"{gpus} processes, weights shared", Execution(processes=gpus, shard=True)),
        ):
            result = tune(execution)
            records.check_apart(
                name,
                *_losses(result.train_loss, one.train_loss),
                _LOSS_APART,
                tokens_per_second=result.tokens_per_second,
                of_one=one.tokens_per_second,
                peak_gb=result.peak_memory_gb,
            )


def _tuned(place: Path, execution: Execution, *, dry: bool) -> Result:
    return run(_params(place, execution, dry=dry), progress=Progress())


def _params(place: Path, execution: Execution, *, dry: bool) -> Params:
    """A small model, its rows and a plan, in a directory of its own for each execution."""
    model_dir = place / "model"
    shape = {} if dry else _SHAPE
    if not model_dir.exists():
        save_model(model_dir, **shape)
    plan = tiny_plan(method="qlora", execution=execution)
    if not dry:
        plan = msgspec.structs.replace(
            plan,
            model=msgspec.structs.replace(plan.model, max_position_embeddings=_POSITIONS),
            training=msgspec.structs.replace(
                plan.training,
                max_length=_POSITIONS // 2,
                micro_batch_tokens=_POSITIONS,
                accumulation_steps=8,
                epochs=4.0,
                learning_rate=1e-3,
            ),
        )
    work_dir = place / f"{execution.processes}-{execution.shard}"
    write_dataset(work_dir, *((24, 6) if dry else (_ROWS, _ROWS // 20)))
    write_plan(work_dir / "plan.yaml", plan)
    return Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        dataset_digest="sha256:0",
    )


_SHAPE = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "max_position_embeddings": _POSITIONS,
    "initializer_range": 0.02,
}


def _served_loss(params: Params) -> float:
    """Held-out loss per label of the adapter in the server's model, a document at a time."""
    adapter_dir = params.work_dir / "adapter"
    contract = read_contract(adapter_dir)
    model = load_model(params.model_dir, adapter_dir, contract, load_in_4bit=True)
    tokenizer = load_tokenizer(params.model_dir)
    rows, _ = read_rows(
        params.work_dir / "dataset" / "validation.parquet",
        chat_template(tokenizer, params.model_dir),
        tokenizer,
        contract.max_length,
    )
    total = sum(_loss(model, rows, index) for index in range(len(rows.starts) - 1))
    return total / int(rows.labelled.sum())


@torch.no_grad()
def _loss(model: torch.nn.Module, rows: TokenRows, index: int) -> float:
    """Summed loss of one document, with whole logits."""
    place = slice(rows.starts[index], rows.starts[index + 1])
    device = next(model.parameters()).device
    ids = torch.from_numpy(rows.ids[place].astype(np.int64)).to(device)
    learned = torch.from_numpy(rows.labelled[place]).to(device)[1:]
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
    return float(cross_entropy(logits[learned], ids[1:][learned], reduction="sum"))


def _losses(found: Any, expected: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """As `check_apart` wants them; a loss that was not measured is a text, and an error here."""
    one, other = (torch.tensor(float(each), dtype=torch.float64) for each in (found, expected))
    return one, other
