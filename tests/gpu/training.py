"""Training at full size with random weights: speed and memory beside the plan's, and right or not.

The weights are made on the device, in the shapes of a preset; nothing is downloaded.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from argotune.presets.loader import model_preset
from argotune.presets.schema import Method, ModelPreset
from argotune.presets.sizes import lora_parameters
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.contracts.steps_of_run import best_fit
from argotune.steps.contracts.training_plan import Execution, TrainingPlan
from argotune.steps.plan.memory import Loop, estimate
from argotune.steps.plan.speed import expected_speed
from argotune.steps.tokens.tokenise import TokenRows
from argotune.steps.tune.device import forget_peak_memory, peak_memory_gb
from argotune.steps.tune.evaluate import micro_batch_loss
from argotune.steps.tune.extras import check_extras, use_extras
from argotune.steps.tune.load import (
    count_kept_blocks,
    load_model,
    recompute_activations,
    trainable_parameters,
)
from argotune.steps.tune.loop import train
from argotune.steps.tune.pack import MicroBatch, Packs, pack
from argotune.steps.tune.stop import StopRequest
from tests.bench.tune.rig import preset_config, preset_plan
from tests.fakes.jobs import bare_job
from tests.gpu.records import Records, this_device

_SHARD_BYTES = 2e9
_ROW_TOKENS = 350
"""Mean length of a row."""
_GRADIENTS_APART = 5e-2
"""Of a whole model in bfloat16, whose 32 blocks round one after the other."""
_STEPS = 4
_PLAIN = Execution(processes=1)

Setting = tuple[int, int]
"""Tokens of a micro-batch, and the number of blocks whose activations are kept."""


def mini(records: Records) -> None:
    """phi-3-mini with QLoRA: gradients against plain PEFT, then three settings."""
    _train(records, "phi-3-mini-4k-instruct", "qlora", [(8192, 99), (8192, 0), (4096, 3)])


def mini_16(records: Records) -> None:
    """The same with LoRA on 16-bit weights."""
    _train(records, "phi-3-mini-4k-instruct", "lora", [(8192, 99), (8192, 0)])


def seven(records: Records) -> None:
    """A model of 7.6 billion parameters with QLoRA."""
    _train(records, "qwen2.5-coder-7b-instruct", "qlora", [(8192, 99), (8192, 0)])


def extras(records: Records) -> None:
    """phi-3-mini with Liger's kernels, then with compiled blocks, where what they need is there."""
    for wanted in (Execution(processes=1, liger=True), Execution(processes=1, compile=True)):
        name = "Liger" if wanted.liger else "compile"
        try:
            check_extras(wanted)
        except PermanentError as error:
            records.add(name, skipped=str(error))
            continue
        if records.dry:
            records.add(name, skipped="its kernels are compiled for a GPU")
            continue
        _train(records, "phi-3-mini-4k-instruct", "qlora", [(8192, 99), (8192, 0)], wanted)


def _train(
    records: Records,
    name: str,
    method: Method,
    settings: list[Setting],
    execution: Execution = _PLAIN,
) -> None:
    preset = smaller(model_preset(name)) if records.dry else model_preset(name)
    if records.dry:
        settings = [(64, min(kept, 1)) for _, kept in settings[:1]]
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place:
        directory = Path(place)
        save_weights(preset, directory)
        plan = plan_of(preset, method, max(tokens for tokens, _ in settings), execution)
        device = this_device()
        model = load_model(plan, directory, device, "default").train()
        use_extras(model, plan.execution)
        records.add("loaded", preset=name, method=method, peak_gb=peak_memory_gb(device))
        _check_gradients(records, model, preset)
        for tokens, kept_blocks in settings:
            _measure(records, model, preset, plan, tokens, kept_blocks)


def smaller(preset: ModelPreset) -> ModelPreset:
    """The preset's family in the smallest size."""
    heads, width = 4, 16
    shape = msgspec.structs.replace(
        preset.architecture,
        num_hidden_layers=2,
        hidden_size=heads * width,
        intermediate_size=128,
        num_attention_heads=heads,
        num_key_value_heads=2,
        head_dim=width,
        vocab_size=300,
    )
    return msgspec.structs.replace(preset, architecture=shape)


def save_weights(preset: ModelPreset, directory: Path) -> None:
    """A directory of random weights as the model step leaves one."""
    shape = preset.architecture
    config = preset_config(
        preset, max_position_embeddings=shape.max_position_embeddings, pad_token_id=0
    )
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    config.architectures = [type(model).__name__]
    config.save_pretrained(directory)
    torch.manual_seed(0)
    shards: list[dict[str, torch.Tensor]] = [{}]
    for name, empty in model.state_dict().items():
        if shape.tie_word_embeddings and name == "lm_head.weight":
            continue
        if sum(weight.nbytes for weight in shards[-1].values()) > _SHARD_BYTES:
            _save_shard(directory, shards)
        shards[-1][name] = _random_weight(name, empty.shape)
    _save_shard(directory, shards)
    index = {name: _shard_name(at) for at, shard in enumerate(shards) for name in shard}
    text = json.dumps({"metadata": {}, "weight_map": index})
    (directory / "model.safetensors.index.json").write_text(text)
    mark_complete(directory, Origin(source="hub", version="0" * 40))


def _random_weight(name: str, shape: torch.Size) -> torch.Tensor:
    if "norm" in name:
        return torch.ones(shape, dtype=torch.bfloat16)
    device = this_device().torch_device
    return (0.02 * torch.randn(shape, device=device)).to(torch.bfloat16).cpu()


def _save_shard(directory: Path, shards: list[dict[str, torch.Tensor]]) -> None:
    """Write the last shard, whose weights then go, and begin another."""
    save_file(shards[-1], directory / _shard_name(len(shards) - 1), metadata={"format": "pt"})
    shards[-1] = {name: torch.empty(0) for name in shards[-1]}
    shards.append({})


def _shard_name(index: int) -> str:
    return f"model-{index:05}.safetensors"


def plan_of(
    preset: ModelPreset, method: Method, tokens: int, execution: Execution = _PLAIN
) -> TrainingPlan:
    """A plan of some steps with packs of so many tokens."""
    plan = preset_plan(
        preset,
        method,
        max_position_embeddings=preset.architecture.max_position_embeddings,
        max_length=min(tokens, 4096),
        micro_batch_tokens=tokens,
        max_steps=_STEPS,
        epochs=1000.0,
    )
    return msgspec.structs.replace(plan, execution=execution)


def _packs(preset: ModelPreset, tokens: int, count: int) -> Packs:
    """Full packs of random rows; the last three quarters of each row are learned."""
    chance = np.random.default_rng(0)
    lengths: list[int] = []
    for _ in range(count):
        left = tokens
        while left:
            wanted = int(chance.lognormal(math.log(min(_ROW_TOKENS, tokens / 3)) - 0.32, 0.8))
            row = min(max(wanted, 12), 4096, left)
            lengths.append(left if left - row < 12 else row)
            left -= lengths[-1]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = chance.integers(5, preset.architecture.vocab_size, int(starts[-1])).astype(np.int32)
    labelled = np.ones(len(ids), dtype=bool)
    for begin, length in zip(starts[:-1], lengths, strict=True):
        labelled[begin : begin + max(1, length // 4)] = False
    rows = TokenRows(ids=ids, labelled=labelled, starts=starts)
    return Packs(pack(rows, best_fit(lengths, tokens)))


def _check_gradients(records: Records, model: Any, preset: ModelPreset) -> None:
    """One pack against a document at a time, with whole logits and attention of transformers."""
    device = this_device()
    # B is zero at first, and so is A's gradient.
    generator = torch.Generator().manual_seed(1)
    for name, weight in trainable_parameters(model).items():
        if "lora_B" in name:
            values = 0.02 * torch.randn(weight.shape, generator=generator)
            weight.data.copy_(values.to(weight.device))
    batch = _packs(preset, 64 if records.dry else 2048, 1).micro_batch(0)
    batch = batch.to(device.torch_device)
    with device.precision():
        loss = micro_batch_loss(model, batch)
    torch.autograd.backward(loss)
    found = _take_gradients(model)
    base = model.get_base_model()
    ours = base.config._attn_implementation
    base.set_attn_implementation("sdpa")
    total = _plain_backward(base, batch)
    base.set_attn_implementation(ours)
    records.check_apart("loss of a pack", loss, total, 1e-2)
    records.check_apart(
        "gradients of a pack", found, _take_gradients(model), _GRADIENTS_APART, attention=ours
    )


def _plain_backward(base: Any, batch: MicroBatch) -> torch.Tensor:
    total, begin = torch.zeros((), device=batch.input_ids.device), 0
    for length in batch.document_lengths:
        here = (batch.label_positions >= begin) & (batch.label_positions < begin + length)
        places, targets = batch.label_positions[here] - begin, batch.targets[here]
        ids = batch.input_ids[:, begin : begin + length]
        begin += length
        if not len(places):
            continue
        with this_device().precision():
            logits = base(input_ids=ids, use_cache=False).logits[0, places].float()
        part = cross_entropy(logits, targets, reduction="sum")
        torch.autograd.backward(part)
        total += part.detach()
    return total


def _extra(execution: Execution) -> str:
    return ", Liger" * execution.liger + ", compiled" * execution.compile


def _take_gradients(model: Any) -> torch.Tensor:
    weights = trainable_parameters(model).values()
    found = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
    model.zero_grad(set_to_none=True)
    return found


def _measure(
    records: Records,
    model: Any,
    preset: ModelPreset,
    of_all: TrainingPlan,
    tokens: int,
    kept_blocks: int,
) -> None:
    device, shape, method = this_device(), preset.architecture, of_all.method
    kept = min(kept_blocks, shape.num_hidden_layers)
    recompute_activations(model.get_base_model(), kept, draws=False)
    forget_peak_memory(device)
    plan = plan_of(preset, method, tokens, of_all.execution)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place, StopRequest() as stop:
        packs = _packs(preset, tokens, _STEPS)
        job = bare_job(model, device, plan.training, packs, Path(place), stop)
        train(job)
        # Fewer where the card was too small.
        kept = count_kept_blocks(model.get_base_model())
        # Closes the file; `close` would draw the curves, which takes seconds.
        job.report.rewind(_STEPS)
        lines = (Path(place) / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    loop = Loop(
        micro_batch_tokens=tokens,
        checkpointing=True,
        kept_blocks=kept,
        plain_blocks=plan.execution.liger or plan.execution.compile,
    )
    adapter = lora_parameters(shape, preset.family, preset.lora_target_modules, r=plan.lora.r)
    memory = estimate(shape, preset.family, method, lora_weights=adapter, loop=loop)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    records.add(
        f"{preset.name}, {method}, {tokens} tokens, {kept} blocks kept{_extra(plan.execution)}",
        # The first step makes room, and the second still finds some.
        tokens_per_second=statistics.median(s["tokens_per_second"] for s in steps[2:]),
        planned=str(
            expected_speed(
                preset, method, name, 1, recomputed_share=1 - kept / shape.num_hidden_layers
            )
        ),
        peak_gb=round(peak_memory_gb(device), 2),
        planned_gb=memory.total_gb,
        terms=msgspec.to_builtins(memory),
        losses=[round(step["loss"], 3) for step in steps],
    )
