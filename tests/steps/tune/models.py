"""Random models of every family, a thousand times smaller than the smallest preset."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet
import torch
from transformers import (
    AutoModelForCausalLM,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
)

from argotune.steps.common.fields import text_of
from argotune.steps.contracts.dataset_rows import SCHEMA, Conversation
from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.contracts.serving import Rope, fix_rope
from argotune.steps.contracts.training_plan import (
    Execution,
    Quantization,
    TrainingPlan,
    Watch,
    write_plan,
)
from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.params import Params
from tests.fakes.plans import small_plan
from tests.fakes.tokenizer import MARKED_TEMPLATE as MARKED_TEMPLATE
from tests.fakes.tokenizer import PLAIN_TEMPLATE as PLAIN_TEMPLATE
from tests.fakes.tokenizer import SPECIAL_TOKENS as SPECIAL_TOKENS
from tests.fakes.tokenizer import VOCABULARY as VOCABULARY
from tests.fakes.tokenizer import make_tokenizer as make_tokenizer

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}

CONFIGS: dict[str, PreTrainedConfig] = {
    "phi3": Phi3Config(**_SHAPE),
    "phi3 with a window": Phi3Config(**_SHAPE, sliding_window=6),
    "mistral": MistralConfig(**_SHAPE, sliding_window=None),
    "mistral with a window": MistralConfig(**_SHAPE, sliding_window=6),
    "qwen2": Qwen2Config(**_SHAPE),
    "qwen2 with a window": Qwen2Config(
        **_SHAPE, use_sliding_window=True, sliding_window=6, max_window_layers=1
    ),
    "tied phi-4-mini": Phi3Config(
        **_SHAPE,
        tie_word_embeddings=True,
        original_max_position_embeddings=16,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.5, 2.0],
            "long_factor": [4.0, 8.0, 16.0],
            "original_max_position_embeddings": 16,
        },
    ),
}


def random_model(family: str, attention: str, rope: Rope = "default", **shape: float) -> Any:
    """A model of the family with the same random weights each time, in torch's default type."""
    torch.manual_seed(0)
    config = CONFIGS[family].__class__.from_dict({**CONFIGS[family].to_dict(), **shape})
    if config.rope_parameters["rope_type"] == "longrope":
        fix_rope(config, rope)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.to(torch.get_default_dtype()).eval()


def linear_layers(model_type: str) -> list[str]:
    """Names of all layers that an adapter can be on."""
    if model_type == "phi3":
        return ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    return ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Wrapped:
    """A random base model as PEFT hands it out."""

    def __init__(self) -> None:
        self.base = random_model("phi3", SEGMENTED)
        self.training = True

    def get_base_model(self) -> Any:
        return self.base

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool) -> None:
        self.training = mode


def save_model(
    directory: Path, family: str = "phi3", template: str = MARKED_TEMPLATE, **shape: float
) -> Path:
    """A model directory as the model step leaves it."""
    random_model(family, "sdpa", **shape).save_pretrained(directory)
    make_tokenizer(template).save_pretrained(directory)
    mark_complete(directory, Origin(source="hub", version="0" * 40))
    return directory


def conversation(question: str, answer: str) -> list[dict[str, str]]:
    """A dataset row of one question and one answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def write_rows(path: Path, rows: Sequence[Conversation | Sequence[Mapping[str, object]]]) -> None:
    """A parquet file as the dataset step writes it, of conversations or their messages alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = [row if isinstance(row, Conversation) else Conversation(messages=row) for row in rows]
    values = [
        {
            "messages": [_stored(message) for message in row.messages],
            "tools": row.tools and json.dumps(row.tools),
        }
        for row in whole
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values, SCHEMA), path)


def _stored(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    return {
        "learned": message["role"] == "assistant",
        **message,
        "tool_calls": calls and json.dumps(calls),
    }


def numbered_rows(first: int, last: int) -> list[list[dict[str, str]]]:
    """Questions and answers of different lengths with something to learn."""
    return [
        conversation(
            f"What does {number} stand for?", f"It stands for {'xyz'[number % 3] * number}."
        )
        for number in range(first, last)
    ]


def write_dataset(work_dir: Path, train: int = 24, held_out: int = 6) -> None:
    """Both files of the dataset step."""
    write_rows(work_dir / "dataset" / "train.parquet", numbered_rows(1, train + 1))
    rows = numbered_rows(1, train + held_out + 1)[train:]
    write_rows(work_dir / "dataset" / "validation.parquet", rows)


def tiny_plan(
    *,
    method: str = "lora",
    execution: Execution | None = None,
    watch: Watch | None = None,
    **training: Any,
) -> TrainingPlan:
    """A plan for the random phi3 that trains in a second, with some training settings changed.

    Its sample answers are short: those of a plan take longer than a training of so few steps.
    """
    plan = small_plan()
    settings = {
        "max_length": 120,
        "micro_batch_tokens": 128,
        "epochs": 2.0,
        "learning_rate": 1e-2,
        "early_stopping_patience": None,
        **training,
    }
    return msgspec.structs.replace(
        plan,
        method=method,
        quantization=Quantization() if method == "qlora" else None,
        model=msgspec.structs.replace(
            plan.model, repository="acme/random", revision="0" * 40, max_position_embeddings=128
        ),
        lora=msgspec.structs.replace(
            plan.lora,
            alpha=16,
            target_modules=linear_layers("phi3"),
        ),
        training=msgspec.structs.replace(plan.training, **settings),
        execution=execution or Execution(),
        watch=watch or Watch(samples=1, sample_tokens=2),
    )


def params_for(
    work_dir: Path, model_dir: Path, plan: TrainingPlan, digest: str = "sha256:d"
) -> Params:
    """The step's parameters, with the plan written where they say."""
    write_plan(work_dir / "plan.yaml", plan)
    return Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        dataset_digest=digest,
    )


def read_records(work_dir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what differs from run to run."""
    lines = (work_dir / "report" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    measured = ("time", "tokens_per_second", "memory_gb")
    return [
        {key: value for key, value in record.items() if key not in measured} for record in records
    ]


def flags_of(params: Params) -> list[str]:
    """What the step is called with."""
    values = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    return [
        f"--{name.replace('_', '-')}={text_of(value)}"
        for name, value in values.items()
        if value is not None
    ]


def wait_for_checkpoint(work_dir: Path, is_running: Callable[[], bool]) -> None:
    """Until the first one is there."""
    deadline = time.monotonic() + 250
    while not list((work_dir / "checkpoints").glob("step-*")):
        assert is_running(), "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.005)
