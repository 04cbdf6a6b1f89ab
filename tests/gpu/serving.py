"""The server's engine at full size with random weights: first token, tokens/s, memory."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import torch

from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.steps.contracts.serving import Adapter, Base, ServingContract
from argotune.steps.serve.engine.interface import Answer, Question, Sampling
from argotune.steps.serve.engine.transformers_engine import TransformersEngine
from argotune.steps.serve.load import load_model as load_served
from argotune.steps.tune.device import forget_peak_memory, peak_memory_gb
from argotune.steps.tune.load import load_model
from tests.fakes.tokenizer import make_tokenizer
from tests.gpu.records import Records, this_device
from tests.gpu.training import plan_of, save_weights, smaller

_AT_ONCE = (1, 16)
_PROMPT_TOKENS, _ANSWER_TOKENS = 512, 64
_LIMIT_SECONDS = 120.0


def serve(records: Records) -> None:
    """phi-3-mini with an adapter in 16 and in 4 bits: one question, then sixteen at once."""
    preset = model_preset("phi-3-mini-4k-instruct")
    if records.dry:
        preset = smaller(preset)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place:
        model_dir, adapter_dir = Path(place, "model"), Path(place, "adapter")
        save_weights(preset, model_dir)
        _save_adapter(preset, model_dir, adapter_dir)
        for load_in_4bit in (False, True):
            _measure(records, preset, model_dir, adapter_dir, load_in_4bit=load_in_4bit)


def _save_adapter(preset: ModelPreset, model_dir: Path, adapter_dir: Path) -> None:
    """An adapter as it is before training: its products are computed, and add nothing."""
    model = load_model(plan_of(preset, "lora", 512), model_dir, this_device(), "default")
    model.save_pretrained(adapter_dir, save_embedding_layers=False)


def _measure(
    records: Records,
    preset: ModelPreset,
    model_dir: Path,
    adapter_dir: Path,
    *,
    load_in_4bit: bool,
) -> None:
    forget_peak_memory(this_device())
    contract = _contract(preset)
    model = load_served(model_dir, adapter_dir, contract, load_in_4bit=load_in_4bit)
    engine = TransformersEngine(model, make_tokenizer(), contract, name="demo", slots=max(_AT_ONCE))
    prompt, answer = (8, 4) if records.dry else (_PROMPT_TOKENS, _ANSWER_TOKENS)
    try:
        asyncio.run(_ask(engine, preset, 1, prompt, answer))  # warm up
        for count in _AT_ONCE:
            first, whole = asyncio.run(_ask(engine, preset, count, prompt, answer))
            records.add(
                f"{preset.name}, {4 if load_in_4bit else 16} bits, {count} at once",
                first_token_ms=round(1e3 * first, 1),
                tokens_per_second=round(count * (answer - 1) / (whole - first), 1),
                peak_gb=round(peak_memory_gb(this_device()), 2),
            )
    finally:
        engine.close()


async def _ask(
    engine: TransformersEngine, preset: ModelPreset, count: int, prompt: int, answer: int
) -> tuple[float, float]:
    """Seconds to the last of the first tokens, and to the end of all answers."""
    began = time.monotonic()
    firsts = await asyncio.gather(
        *(
            _first_token(engine, _question(preset, number, prompt, answer))
            for number in range(count)
        )
    )
    return max(firsts) - began, time.monotonic() - began


async def _first_token(engine: TransformersEngine, question: Question) -> float:
    """Read an answer to its end; when its first token came."""
    answer = Answer()
    async for _ in engine.answer(question, answer, time.monotonic() + _LIMIT_SECONDS):
        pass
    if answer.tokens != question.max_new_tokens or answer.started is None:
        raise RuntimeError(f"an answer has {answer.tokens} tokens, not {question.max_new_tokens}")
    return answer.started


def _question(preset: ModelPreset, number: int, prompt: int, answer: int) -> Question:
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(5, preset.architecture.vocab_size, (prompt,), generator=generator)
    return Question(
        prompt=tuple(ids.tolist()),
        adapter="demo",
        max_new_tokens=answer,
        sampling=Sampling(temperature=0, top_p=1, seed=None),
    )


def _contract(preset: ModelPreset) -> ServingContract:
    """Of an adapter whose answers end with no token, so that all are of one length."""
    shape = preset.architecture
    return ServingContract(
        base=Base(repository="local/random", revision="0" * 40, family=preset.family),
        adapter=Adapter(name="demo", r=16, alpha=32, target_modules=preset.lora_target_modules),
        quantization="nf4",
        chat_template="",
        stop_tokens=[],
        stop_token_ids=[],
        max_length=shape.max_position_embeddings,
        longest_row=_PROMPT_TOKENS,
        rope="default",
    )
