"""What the benches of tuning work on: a random model, a tokenizer and chats, all made here.

The text is this repository's own: its modules and pages, cut into chats whose lengths follow a
lognormal distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from argotune.presets.schema import Method, ModelPreset
from argotune.steps.contracts.dataset_rows import SCHEMA
from argotune.steps.contracts.training_plan import Quantization, TrainingPlan
from tests.fakes.plans import small_plan

VOCABULARY = 8064
PACK_TOKENS = 2048
OPTIMIZER_STEPS = 5
"""In a round, for every contestant, so that each step holds the same rows' worth of tokens."""

_SIGMA = 0.8
_SHORTEST_ROW = 12
_TURNS_TOKENS = 8
"""About what the template adds to a question and an answer."""

_ROOT = Path(__file__).parents[3]

_SPECIAL_TOKENS = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"]
PAD_TOKEN = _SPECIAL_TOKENS.index("<|pad|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>\n"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Lengths:
    """Rows of one distribution of lengths; all three have about as many tokens."""

    mean_tokens: int
    rows: int

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step of those that count rows."""
        return self.rows // OPTIMIZER_STEPS

    @property
    def padded_batch(self) -> int:
        """Rows of a padded batch: 8, or a whole step where that has fewer."""
        return min(8, self.rows_per_step)


LENGTHS = {
    "short": Lengths(mean_tokens=60, rows=320),
    "mixed": Lengths(mean_tokens=240, rows=80),
    "long": Lengths(mean_tokens=960, rows=20),
}


def tiny_config() -> Phi3Config:
    """Four layers of Phi-3's architecture: 6.8 million frozen parameters."""
    return Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=PACK_TOKENS,
        original_max_position_embeddings=PACK_TOKENS,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=PAD_TOKEN,
    )


def tiny_plan(packs: int) -> TrainingPlan:
    """One epoch in as many optimizer steps as the rivals make, rank 16 on all linear layers."""
    plan = small_plan()
    return msgspec.structs.replace(
        plan,
        lora=msgspec.structs.replace(
            plan.lora,
            r=16,
            alpha=32,
            target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        ),
        training=msgspec.structs.replace(
            plan.training,
            max_length=PACK_TOKENS,
            micro_batch_tokens=PACK_TOKENS,
            accumulation_steps=-(-packs // OPTIMIZER_STEPS),
            learning_rate=1e-4,
            scheduler="constant",
            gradient_checkpointing=True,
        ),
    )


def preset_config(
    preset: ModelPreset, *, max_position_embeddings: int, pad_token_id: int
) -> PreTrainedConfig:
    """Transformers' configuration of a preset's architecture, at its full size."""
    shape = preset.architecture
    return AutoConfig.for_model(
        preset.family,
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=max_position_embeddings,
        sliding_window=shape.sliding_window,
        tie_word_embeddings=shape.tie_word_embeddings,
        rms_norm_eps=shape.rms_norm_eps,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=pad_token_id,
    )


def preset_plan(
    preset: ModelPreset, method: Method, *, max_position_embeddings: int, **training: Any
) -> TrainingPlan:
    """The small plan for a preset; `training` are fields of its training."""
    plan = tiny_plan(packs=1)
    return msgspec.structs.replace(
        plan,
        method=method,
        quantization=Quantization() if method == "qlora" else None,
        model=msgspec.structs.replace(
            plan.model,
            preset=preset.name,
            family=preset.family,
            max_position_embeddings=max_position_embeddings,
            sliding_window=preset.architecture.sliding_window,
        ),
        lora=msgspec.structs.replace(plan.lora, target_modules=list(preset.lora_target_modules)),
        training=msgspec.structs.replace(plan.training, accumulation_steps=1, **training),
    )


def save_random_model(directory: Path, config: Any, dtype: torch.dtype) -> None:
    """Weights from seed 0, in the files that a model step leaves."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    model.save_pretrained(directory)


def save_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 8064 tokens, learned from this repository."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(repository_texts(), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        # Another one than the end: the rival's collator leaves padding out of the loss by its id.
        pad_token="<|pad|>",
        additional_special_tokens=_SPECIAL_TOKENS[1:-1],
        chat_template=_CHAT_TEMPLATE,
    )
    fast.save_pretrained(directory)
    return fast


def repository_texts() -> list[str]:
    """The modules and pages of this repository."""
    files = sorted(
        path
        for folder in ("images", "presets", "steps", "tests", "workflows")
        for pattern in ("*.py", "*.md", "*.yaml")
        for path in (_ROOT / folder).rglob(pattern)
    )
    if not files:
        raise SystemExit(f"{_ROOT}: nothing to learn from; run this in the repository")
    return [path.read_text() for path in files]


def write_rows(path: Path, tokenizer: PreTrainedTokenizerFast, lengths: Lengths, rows: int) -> None:
    """`rows` chats of the distribution as the dataset step writes them."""
    text = "\n".join(repository_texts())
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    places = [start for start, _ in encoded["offset_mapping"]]
    chats = [
        [{**message, "learned": message["role"] == "assistant"} for message in chat]
        for chat in _chats(text, places, _lengths(lengths, rows))
    ]
    columns = {"messages": chats, "tools": [None] * len(chats)}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pydict(columns, schema=SCHEMA), path)


def _lengths(lengths: Lengths, rows: int) -> list[int]:
    """Lognormal, and with the mean that was asked for."""
    drawn = np.random.default_rng(0).lognormal(0.0, _SIGMA, rows)
    most = PACK_TOKENS - 4 * _TURNS_TOKENS
    scaled = np.clip(drawn * lengths.mean_tokens / drawn.mean(), _SHORTEST_ROW, most)
    numbers: list[int] = scaled.astype(int).tolist()
    return numbers


def _chats(
    text: str, places: Sequence[int], lengths: Sequence[int]
) -> Iterator[list[dict[str, str]]]:
    """A quarter of each chat is the question, the rest the answer."""
    random = np.random.default_rng(1)
    for length in lengths:
        words = max(4, length - _TURNS_TOKENS)
        begin = int(random.integers(0, len(places) - words - 1))
        first, middle, last = (places[begin + share * words // 4] for share in (0, 1, 4))
        yield [
            {"role": "user", "content": text[first:middle]},
            {"role": "assistant", "content": text[middle:last]},
        ]
