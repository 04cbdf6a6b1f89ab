"""A small adapter and its plan, as tune and plan leave them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from steps.common.training_plan import (
    Data,
    Hardware,
    Lora,
    Memory,
    Model,
    Training,
    TrainingPlan,
    write_plan,
)


def safetensors(content: bytes = b"\0" * 64) -> bytes:
    """A file with one float32 tensor."""
    tensor = {"dtype": "F32", "shape": [len(content) // 4], "data_offsets": [0, len(content)]}
    header = json.dumps({"base_model.weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + content


def write_adapter(directory: Path) -> Path:
    """The files of a whole adapter."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter_config.json").write_text('{"r": 8, "peft_type": "LORA"}')
    (directory / "adapter_model.safetensors").write_bytes(safetensors())
    (directory / "serving.json").write_text('{"max_length": 512}')
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    return directory


def write_tiny_plan(path: Path, *, source: str = "cache") -> TrainingPlan:
    """Write the plan of a run with preset tiny, and return it."""
    plan = TrainingPlan(
        name="phi-tuned",
        method="qlora",
        model=Model(
            preset="tiny",
            family="phi3",
            repository="argotune/tiny",
            revision="0" * 40,
            license="Apache-2.0",
            source=source,
            max_position_embeddings=1024,
        ),
        quantization=None,
        lora=Lora(r=8, alpha=16, dropout=0.0, target_modules=["qkv_proj"]),
        data=Data(validation_share=0.1, split_seed=0, max_rejected_share=0.1),
        training=Training(
            max_length=512,
            max_truncated_share=0.1,
            micro_batch_tokens=1024,
            accumulation_steps=1,
            epochs=1.0,
            max_steps=None,
            learning_rate=1e-3,
            scheduler="cosine",
            warmup_ratio=0.03,
            weight_decay=0.0,
            max_grad_norm=1.0,
            adam_beta2=0.999,
            gradient_checkpointing=False,
            seed=0,
            eval_steps=None,
            save_steps=None,
            early_stopping_patience=None,
        ),
        hardware=Hardware(
            instance_type=None,
            gpus=0,
            gpu_model=None,
            gpu_memory_gib=None,
            price_usd_per_hour=None,
            disk_gib=10,
        ),
        memory=Memory(
            weights_gb=0.1,
            lora_gb=0.1,
            context_gb=0.0,
            activations_gb=0.1,
            logits_gb=0.1,
            fragmentation_gb=0.0,
            total_gb=0.4,
        ),
    )
    write_plan(path, plan)
    return plan
