"""A small training plan for tests of single steps."""

from __future__ import annotations

from argotune.steps.contracts.training_plan import (
    Data,
    Hardware,
    Lora,
    Memory,
    Model,
    Training,
    TrainingPlan,
)


def small_plan() -> TrainingPlan:
    """A whole and sensible plan; tests replace the section that they are about."""
    return TrainingPlan(
        name="demo",
        method="lora",
        model=Model(
            preset="tiny",
            family="phi3",
            repository="argotune/tiny",
            revision="main",
            license="Apache-2.0",
            source="cache",
            max_position_embeddings=512,
            shape={"num_hidden_layers": 4, "hidden_size": 256},
        ),
        quantization=None,
        lora=Lora(r=8, alpha=8, dropout=0.0, target_modules=["qkv_proj"]),
        data=Data(validation_share=0.1, split_seed=0, max_rejected_share=0.05),
        training=Training(
            max_length=512,
            max_truncated_share=0.1,
            micro_batch_tokens=512,
            accumulation_steps=1,
            epochs=1.0,
            max_steps=None,
            learning_rate=1e-3,
            scheduler="linear",
            warmup_ratio=0.0,
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
            weights_gb=0.0,
            lora_gb=0.0,
            context_gb=0.0,
            activations_gb=0.0,
            logits_gb=0.0,
            fragmentation_gb=0.0,
            total_gb=0.0,
        ),
    )
