"""TRL's SFTTrainer in the ways that people use it, Kaito's among them.

Kaito's tuning container (presets/workspace/tuning/text-generation/fine_tuning.py) gives SFTTrainer
the adapter on a model that `prepare_model_for_kbit_training` went over, transformers' collator,
which makes the labels anew from the tokens, and a callback that empties CUDA's cache after each
step. It runs with one row a batch: with more, TRL since 1.7 stops at that collator.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DataCollatorForLanguageModeling,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from argotune.steps.contracts.training_plan import TrainingPlan
from tests.bench.tune.contestants import Round, fill_adapter
from tests.bench.tune.rig import Lengths


@dataclass(frozen=True)
class Way:
    """How SFTTrainer is set up."""

    kaito: bool = False
    padded: bool = False
    """Several rows a batch; else one row, or one pack."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of SFTConfig."""
    attention: str = "sdpa"


WAYS = {
    "kaito": Way(kaito=True),
    "trl-batch-1": Way(),
    "trl-padded": Way(padded=True),
    "trl-grouped": Way(padded=True, options={"train_sampling_strategy": "group_by_length"}),
    "trl-packing": Way(options={"packing": True, "packing_strategy": "bfd"}),
    "trl-packing-flex": Way(
        options={"packing": True, "packing_strategy": "bfd"}, attention="flex_attention"
    ),
}


class Rival:
    """SFTTrainer on the same files."""

    def __init__(self, directory: Path, plan: TrainingPlan, lengths: Lengths, way: Way) -> None:
        self._plan, self._way, self._directory = plan, way, directory
        self._batch = lengths.padded_batch if way.padded else 1
        self._rows_per_step = lengths.rows_per_step
        self._on_cuda = torch.cuda.is_available()
        self.tokenizer = AutoTokenizer.from_pretrained(directory / "model", local_files_only=True)
        self._rows = Dataset.from_parquet(
            str(directory / "train.parquet"), cache_dir=str(directory / "cache")
        )
        self.model = self._load()
        fill_adapter(self.model)
        self._timer = _Timer()
        self._trainer = self._make_trainer(self._accumulation(), plan.training.max_grad_norm)

    def train(self, *, whole: bool) -> Round:
        trainer = self._trainer
        if whole:
            trainer = self._make_trainer(self._batches(), max_grad_norm=0.0)
        loss = trainer.train().training_loss
        return Round(seconds=self._timer.seconds, cpu_seconds=self._timer.cpu_seconds, loss=loss)

    def _load(self) -> Any:
        quantization = None
        if self._plan.quantization is not None:
            quantization = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                load_in_4bit=True,
                bnb_4bit_quant_type=self._plan.quantization.quant_type,
                bnb_4bit_use_double_quant=self._plan.quantization.double_quant,
                bnb_4bit_compute_dtype=torch.bfloat16,
            )
        model = AutoModelForCausalLM.from_pretrained(
            self._directory / "model",
            dtype=torch.bfloat16 if self._on_cuda else torch.float32,
            attn_implementation=self._way.attention,
            quantization_config=quantization,
            device_map={"": "cuda:0" if self._on_cuda else "cpu"},
            local_files_only=True,
        )
        if self._way.kaito and quantization is not None:
            model = prepare_model_for_kbit_training(model)  # type: ignore[no-untyped-call]
        lora = self._plan.lora
        settings = LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=sorted(lora.target_modules),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, settings)

    def _make_trainer(self, accumulation: int, max_grad_norm: float) -> SFTTrainer:
        training = self._plan.training
        arguments = SFTConfig(
            output_dir=str(self._directory / "trainer"),
            max_length=training.max_length,
            per_device_train_batch_size=self._batch,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=1,
            learning_rate=training.learning_rate,
            lr_scheduler_type=training.scheduler,
            weight_decay=training.weight_decay,
            max_grad_norm=max_grad_norm,
            activation_checkpointing=training.gradient_checkpointing,
            activation_checkpointing_kwargs={"use_reentrant": False},
            bf16=self._on_cuda,
            use_cpu=not self._on_cuda,
            seed=training.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=self._on_cuda,
            **self._way.options,
        )
        return SFTTrainer(
            model=self.model,
            args=arguments,
            train_dataset=self._rows,
            processing_class=self.tokenizer,
            data_collator=DataCollatorForLanguageModeling(self.tokenizer, mlm=False)
            if self._way.kaito
            else None,
            callbacks=[self._timer, _EmptyCache()] if self._way.kaito else [self._timer],
        )

    def _accumulation(self) -> int:
        if self._way.options.get("packing"):
            return self._plan.training.accumulation_steps
        return self._rows_per_step // self._batch

    def _batches(self) -> int:
        return -(-len(self._trainer.train_dataset) // self._batch)


class _Timer(TrainerCallback):
    """From the first batch to the last step: the trainer's own preparations are not counted."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self._began
        self.cpu_seconds = time.process_time() - self._cpu_began


class _EmptyCache(TrainerCallback):
    """As Kaito's."""

    def on_step_end(self, *_: Any, **__: Any) -> None:
        torch.cuda.empty_cache()
